/* config_support.h - files in a directory of their own, and what the loader says about them. */
#pragma once
#include "unit.h"
#include "config/config.h"
#include "config/plugin_conf.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Group setup: an empty current directory, so that messages name plain files. */
static inline int in_a_directory(void **state)
{
    char *dir = NULL;
    const char *where = getenv("TMPDIR") ? getenv("TMPDIR") : P_tmpdir;
    if (asprintf(&dir, "%s/pigeon-config-XXXXXX", where) < 0 || !mkdtemp(dir) || chdir(dir))
        return -1;
    *state = dir;
    return 0;
}

static inline int out_of_the_directory(void **state)
{
    char command[4200];
    snprintf(command, sizeof(command), "rm -rf '%s'", (char *)*state);
    free(*state);
    return chdir("/") || system(command);
}

static inline void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static inline int load(const char *yaml, const char *const *overrides, uint32_t n, struct diag *d,
                       struct config **r_config)
{
    const char *files[] = { "p.yaml" };
    if (yaml)
        write_file("p.yaml", yaml);
    struct config_input input = {
        .files = files, .n_files = yaml ? 1 : 0, .overrides = overrides, .n_overrides = n
    };
    return config_load(&input, d, r_config);
}

/* The configuration, which must be right. */
static inline struct config *good(const char *yaml)
{
    struct diag d;
    struct config *config = NULL;
    diag_init(&d);
    int result = load(yaml, NULL, 0, &d, &config);
    diag_print(&d, stderr);
    assert_int_equal(result, 0);
    diag_fini(&d);
    return config;
}

static inline struct config *good_with(const char *override)
{
    struct diag d;
    struct config *config = NULL;
    diag_init(&d);
    int result = load(NULL, &override, 1, &d, &config);
    diag_print(&d, stderr);
    assert_int_equal(result, 0);
    diag_fini(&d);
    return config;
}

static inline void check_text(struct diag *d, const char *expected)
{
    char *text = NULL;
    assert_int_equal(diag_text(d, &text), 0);
    assert_string_equal(text, expected);
    free(text);
    diag_fini(d);
}

/* The configuration must be refused with exactly these messages. */
static inline void bad(const char *yaml, const char *expected)
{
    struct diag d;
    struct config *config = NULL;
    diag_init(&d);
    assert_int_equal(load(yaml, NULL, 0, &d, &config), -EINVAL);
    assert_null(config);
    check_text(&d, expected);
}

static inline void bad_with(const char *override, const char *expected)
{
    struct diag d;
    struct config *config = NULL;
    diag_init(&d);
    assert_int_equal(load(NULL, &override, 1, &d, &config), -EINVAL);
    check_text(&d, expected);
}
