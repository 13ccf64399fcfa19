#include "pigeond/settings.h"
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* -o plugins_dir=["..."] for the folder beside the binary, on the heap. 0, -ENOENT: there is none;
 * -ENOMEM. */
static int build_tree_option(char **r_option)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/plugins"));
    struct stat st;
    if (len <= 0)
        return -ENOENT;
    path[len] = 0;
    char *slash = strrchr(path, '/');
    if (!slash)
        return -ENOENT;
    memcpy(slash, "/plugins", sizeof("/plugins"));
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return -ENOENT;
    char *option = malloc(2 * strlen(path) + sizeof("plugins_dir=[\"\"]"));
    if (!option)
        return -ENOMEM;
    char *at = stpcpy(option, "plugins_dir=[\"");
    for (const char *p = path; *p; *at++ = *p++)
        if (*p == '"' || *p == '\\')
            *at++ = '\\';
    memcpy(at, "\"]", sizeof("\"]"));
    *r_option = option;
    return 0;
}

static int load(const struct args *args, const char *extra, struct diag *d,
                struct config **r_config)
{
    const char **options = calloc(args->n_options + 1, sizeof(*options));
    if (!options)
        return -ENOMEM;
    for (uint32_t i = 0; i < args->n_options; i++)
        options[i] = args->options[i];
    options[args->n_options] = extra;
    struct config_input input = {
        .files = args->files,
        .n_files = args->n_files,
        .overrides = options,
        .n_overrides = args->n_options + (extra != NULL),
        .has_port = args->has_port,
        .port = args->port,
    };
    int r = config_load(&input, d, r_config);
    free(options);
    return r;
}

/* Nobody wrote `plugins_dir`: reads everything again with the build tree's. */
static int use_build_tree(const struct args *args, struct diag *d, struct config **config)
{
    char *option = NULL;
    struct config *again;
    int r = build_tree_option(&option);
    if (r)
        return r == -ENOENT ? 0 : r;
    r = load(args, option, d, &again);
    free(option);
    if (r)
        return r;
    config_unref(config);
    *config = again;
    return 0;
}

int settings_load(const struct args *args, struct config **r_config)
{
    struct config *config = NULL;
    struct diag d;
    diag_init(&d);
    int r = load(args, NULL, &d, &config);
    if (!r && !config->plugins_dir.n)
        r = use_build_tree(args, &d, &config);
    diag_print(&d, stderr);
    if (r == -ENOMEM)
        fputs("pigeond: out of memory\n", stderr);
    diag_fini(&d);
    if (r)
        config_unref(&config);
    else
        *r_config = config;
    return r;
}

int settings_check_open(const struct config *config, bool has_auth)
{
    struct diag d;
    diag_init(&d);
    int r = config_check_open(config, has_auth, &d);
    diag_print(&d, stderr);
    diag_fini(&d);
    return r;
}

uint32_t settings_threads(const struct config *config)
{
    cpu_set_t cores;
    int n = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
    return config_threads(config, n > 0 ? (uint32_t)n : 1);
}

/* journald adds its own time; it says so by naming the device and inode of our stderr. */
static bool is_journald(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;
    return text && sscanf(text, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

int settings_open_log(const struct config *config, struct log **r_log)
{
    const struct config_log *conf = &config->log;
    bool timestamps = conf->timestamps == CONFIG_TRI_TRUE ||
                      (conf->timestamps == CONFIG_TRI_AUTO && !is_journald());
    int r = log_new(STDERR_FILENO, conf->level, conf->format, timestamps, r_log);
    if (!r)
        log_set_rate(*r_log, (uint32_t)conf->rate);
    return r;
}
