/* gen-config.c - prints docs/config.md. `gen-config-doc FILE` compares instead: exit 1 when FILE
 * differs. */
#include "config/config.h"
#include <stdlib.h>

static int compare(const char *path, const char *text, size_t len)
{
    FILE *f = fopen(path, "r");
    char *content = malloc(len + 2);
    size_t n = f && content ? fread(content, 1, len + 1, f) : 0;
    bool same = n == len && content && !memcmp(content, text, len);
    if (!same)
        fprintf(stderr, "%s differs from the option tables; run: gen-config-doc > %s\n", path,
                path);
    free(content);
    if (f)
        fclose(f);
    return same ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out || config_write_doc(out) || fclose(out))
        return EXIT_FAILURE;
    int result = EXIT_SUCCESS;
    if (argc > 1)
        result = compare(argv[1], text, len);
    else if (fwrite(text, 1, len, stdout) != len)
        result = EXIT_FAILURE;
    free(text);
    return result;
}
