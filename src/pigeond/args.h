/* args.h - the command line of pigeond. Points into argv and owns only its lists. Prints nothing by
 * itself but errors to `err` and the help; never opens a file. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes of pigeond, documented in --help and the manual page. */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_RUNTIME = 1, /* failed while running, out of memory, store check: bad rows */
    EXIT_CODE_USAGE = 2,   /* command line not understood                               */
    EXIT_CODE_CONFIG = 3,  /* configuration wrong                                       */
    EXIT_CODE_PLUGIN = 4,  /* a plugin could not be checked, loaded or created          */
    EXIT_CODE_LISTEN = 5,  /* an address or port could not be opened                    */
    EXIT_CODE_STORE = 6,   /* the store could not be opened, read or written            */
};

struct args {
    const char **files; /* -c, in order */
    uint32_t n_files;
    const char **options; /* -o, in order, each "key=value" */
    uint32_t n_options;
    bool has_port;
    uint16_t port; /* -p; 0: any free one */
    bool test, version, help;
    const char *store; /* `pigeond store COMMAND`: check, dump, load, convert; NULL: the broker */
    const char *to;    /* --to of convert */
};

/* 0; -EINVAL with the reason printed to `err`; -ENOMEM. With --help or -V the rest is not looked
 * at. */
int args_parse(int argc, char *const *argv, FILE *err, struct args *r_args);
void args_fini(struct args *args);
void args_help(FILE *out);
