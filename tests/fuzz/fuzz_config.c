#include "config/plugin_conf.h"
#include "fuzz_support.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* libfyaml 0.7.12 loses 2 kB over a quoted key with dozens of quotes in it; leaks of our own count.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

static const pigeon_option table[] = {
    { .key = "uri", .type = PIGEON_T_STRING, .flags = PIGEON_O_REQUIRED, .min = 1, .max = 9 },
    { .key = "size", .type = PIGEON_T_SIZE, .preset = "1M" },
    { .key = "time", .type = PIGEON_T_TIME, .preset = "30s" },
    { .key = "word", .type = PIGEON_T_ENUM, .allowed = "fast|safe", .preset = "safe" },
    { .key = "list", .type = PIGEON_T_LIST, .preset = "[a, b]" },
    { .key = "tree", .type = PIGEON_T_TREE, .preset = "{ x: 1 }" },
    { .key = "secret", .type = PIGEON_T_SECRET },
};

static void ignore(void *arg, const char *key, const char *old_text, const char *new_text,
                   bool reloadable)
{
    (void)arg, (void)old_text, (void)new_text, (void)reloadable;
    FUZZ_CHECK(key);
}

static void use(struct config *c, struct diag *d)
{
    struct config_input none = { 0 };
    struct config *preset = NULL;
    struct plugin_conf *conf = NULL;
    FUZZ_CHECK(c->n_listeners > 0);
    FUZZ_CHECK(config_load(&none, d, &preset) == 0);
    FUZZ_CHECK(config_diff(preset, c, ignore, NULL) == 0);
    FUZZ_CHECK(config_diff(c, c, ignore, NULL) == 0);
    config_check_open(c, false, d);
    plugin_conf_new(config_plugin(c, "p"), "p", table, sizeof(table) / sizeof(table[0]),
                    sizeof(table[0]), d, &conf);
    if (conf)
        FUZZ_CHECK(plugin_conf_diff(conf, conf, ignore, NULL, NULL) == 0);
    plugin_conf_free(&conf);
    config_unref(&preset);
}

/* Input: the text of a configuration file. Other files are left alone. A refusal must have a
 * reason. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (memmem(data, size, "file", 4) || memmem(data, size, "include", 7))
        return 0;
    char path[64];
    const char *files[] = { path };
    struct config_input input = { .files = files, .n_files = 1 };
    struct config *c = NULL;
    struct diag d;
    char *text = NULL;
    int fd = memfd_create("config", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    diag_init(&d);
    int result = config_load(&input, &d, &c);
    FUZZ_CHECK(result == 0 ? c && !d.n_errors : result == -EINVAL && !c && d.n_errors);
    if (c)
        use(c, &d);
    FUZZ_CHECK(diag_text(&d, &text) == 0);
    free(text);
    diag_fini(&d);
    config_unref(&c);
    close(fd);
    return 0;
}
