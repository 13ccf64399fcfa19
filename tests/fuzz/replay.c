/* replay.c - runs a fuzz target over every file of the directories named on the command line. */
#include "fuzz_support.h"
#include <dirent.h>
#include <string.h>

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file && fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    FUZZ_CHECK(size >= 0);
    uint8_t *data = malloc((size_t)size); /* exact: an overread is seen by a sanitizer */
    rewind(file);
    FUZZ_CHECK(fread(data, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
}

static unsigned replay_dir(const char *dir_path)
{
    char path[4096];
    unsigned n = 0;
    DIR *dir = opendir(dir_path);
    FUZZ_CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir_path, entry->d_name);
        replay_file(path);
        n++;
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    unsigned n = 0;
    for (int i = 1; i < argc; i++)
        n += replay_dir(argv[i]);
    printf("%u inputs\n", n);
    return n ? 0 : 1;
}
