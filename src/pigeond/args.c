#include "pigeond/args.h"
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const struct option long_options[] = {
    { "config", required_argument, NULL, 'c' },
    { "test", no_argument, NULL, 't' },
    { "port", required_argument, NULL, 'p' },
    { "option", required_argument, NULL, 'o' },
    { "version", no_argument, NULL, 'V' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static const struct option store_options[] = {
    { "config", required_argument, NULL, 'c' },
    { "option", required_argument, NULL, 'o' },
    { "to", required_argument, NULL, 'T' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static int complain(FILE *err, const char *what, const char *about)
{
    fprintf(err, "pigeond: %s%s%s%s\nTry 'pigeond --help'.\n", what, *about ? " '" : "", about,
            *about ? "'" : "");
    return -EINVAL;
}

static int read_port(const char *text, FILE *err, struct args *args)
{
    size_t len = strspn(text, "0123456789");
    long port = len && len <= 5 && !text[len] ? strtol(text, NULL, 10) : -1;
    if (port < 0 || port > 65535)
        return complain(err, "-p needs a port from 0 to 65535, not", text);
    args->has_port = true;
    args->port = (uint16_t)port;
    return 0;
}

static int take(int letter, char *const *argv, FILE *err, struct args *args)
{
    switch (letter) {
    case 'c': args->files[args->n_files++] = optarg; return 0;
    case 'o':
        if (!strchr(optarg, '=') || *optarg == '=')
            return complain(err, "-o needs key=value, not", optarg);
        args->options[args->n_options++] = optarg;
        return 0;
    case 'p': return read_port(optarg, err, args);
    case 't': args->test = true; return 0;
    case 'T': args->to = optarg; return 0;
    case 'V': args->version = true; return 0;
    case 'h': args->help = true; return 0;
    case ':': return complain(err, "a value is missing after", argv[optind - 1]);
    default: return complain(err, "unknown option", argv[optind - 1]);
    }
}

/* `pigeond store COMMAND ...`: what is behind the command is left in *argc and *argv. */
static int take_command(int *argc, char *const **argv, FILE *err, struct args *args)
{
    static const char *const commands[] = { "check", "dump", "load", "convert" };
    if (*argc < 2 || strcmp((*argv)[1], "store") != 0)
        return 0;
    const char *given = *argc > 2 ? (*argv)[2] : "";
    if (strcmp(given, "-h") == 0 || strcmp(given, "--help") == 0) {
        args->help = true;
        return 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i], given) == 0)
            args->store = commands[i];
    if (!args->store)
        return complain(err, "store needs check, dump, load or convert, not", given);
    *argc -= 2;
    *argv += 2;
    return 0;
}

static int check_command(const struct args *args, FILE *err)
{
    bool converts = args->store && strcmp(args->store, "convert") == 0;
    if (converts && !args->to && !args->help)
        return complain(err, "store convert needs --to STORE", "");
    return args->to && !converts ? complain(err, "--to belongs to store convert", "") : 0;
}

int args_parse(int argc, char *const *argv, FILE *err, struct args *r_args)
{
    struct args args = { 0 };
    args.files = calloc((size_t)argc + 1, sizeof(*args.files));
    args.options = calloc((size_t)argc + 1, sizeof(*args.options));
    int result = args.files && args.options ? 0 : -ENOMEM;
    if (!result)
        result = take_command(&argc, &argv, err, &args);
    optind = 0; /* glibc: start anew, also its inner state */
    opterr = 0;
    while (!result && !args.help) {
        int letter = args.store ? getopt_long(argc, argv, "+:c:o:h", store_options, NULL)
                                : getopt_long(argc, argv, "+:c:tp:o:Vh", long_options, NULL);
        if (letter == -1)
            break;
        result = take(letter, argv, err, &args);
    }
    if (!result && !args.help && optind < argc)
        result = complain(err, "unexpected argument", argv[optind]);
    if (!result)
        result = check_command(&args, err);
    if (result)
        args_fini(&args);
    else
        *r_args = args;
    return result;
}

void args_fini(struct args *args)
{
    free(args->files);
    free(args->options);
    args->files = args->options = NULL;
}

void args_help(FILE *out)
{
    fputs("Usage: pigeond [-c FILE]... [-o KEY=VALUE]... [-p PORT] [-t]\n"
          "       pigeond store check|dump|load [-c FILE]... [-o KEY=VALUE]...\n"
          "       pigeond store convert --to STORE [-c FILE]... [-o KEY=VALUE]...\n"
          "\n"
          "The MQTT broker, in the foreground, logging to stderr. Without -c it listens on\n"
          "127.0.0.1:1883 only, lets anybody in there, and keeps everything in memory.\n"
          "\n"
          "  -c, --config FILE        read this configuration; may be given several times\n"
          "  -o, --option KEY=VALUE   override an option, such as limits.packet_size=1M\n"
          "  -p, --port PORT          port of the first TCP listener; 0: any free one\n"
          "  -t, --test               test configuration and plugins, print what would run, exit\n"
          "  -V, --version            print version, plugin ABI, features and plugins found, exit\n"
          "  -h, --help               print this, exit\n"
          "\n"
          "SIGHUP reads the configuration again, SIGTERM and SIGINT stop the broker.\n"
          "\n"
          "While the broker does not run, for the store that the configuration names:\n"
          "  store check              read all of it, count the rows, name the bad ones\n"
          "  store dump               write all of it to stdout, a line of JSON for each row\n"
          "  store load               read such lines from stdin into a store that is empty\n"
          "  store convert --to NAME  copy all of it into another store, such as leveldb\n"
          "\n"
          "Exit status:\n"
          "  0  stopped as asked, or the test passed, or the store is in order\n"
          "  1  failed while running; bad rows in the store, a bad line on stdin\n"
          "  2  command line not understood\n"
          "  3  configuration wrong\n"
          "  4  a plugin could not be checked, loaded or created\n"
          "  5  an address or port could not be opened\n"
          "  6  the store could not be opened, read or written; store load, convert: not empty\n",
          out);
}
