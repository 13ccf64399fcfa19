/* pigeond, the broker: see args.c for its command line and server.c for its life. */
#include "pigeond/args.h"
#include "pigeond/check.h"
#include "pigeond/print.h"
#include "pigeond/server.h"
#include "pigeond/settings.h"
#include "pigeond/store_cmd.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Started without stdin, stdout or stderr, a socket would take that number and get the log. */
static void fill_standard_descriptors(void)
{
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = dup(fd);
    if (fd >= 0)
        close(fd);
}

static int show_version(const struct args *args)
{
    struct config *config = NULL;
    print_version(stdout);
    int r = settings_load(args, &config);
    if (!r)
        r = print_plugins(config, stdout);
    config_unref(&config);
    return !r ? EXIT_CODE_OK : r == -EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_RUNTIME;
}

int main(int argc, char **argv)
{
    struct args args;
    fill_standard_descriptors();
    int r = args_parse(argc, argv, stderr, &args);
    if (r)
        return r == -EINVAL ? EXIT_CODE_USAGE : EXIT_CODE_RUNTIME;
    int code = EXIT_CODE_OK;
    if (args.help)
        args_help(stdout);
    else if (args.version)
        code = show_version(&args);
    else if (args.store)
        code = store_cmd_run(&args);
    else
        code = args.test ? check_run(&args) : server_run(&args);
    args_fini(&args);
    return code;
}
