/* pigeon-plugin new: a folder with a plugin that works, its test and its build file. */
#include "plugin_tool/template.h"
#include "plugin_tool/tool.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: pigeon-plugin new KIND NAME [DIR]\n"
    "\n"
    "Begins a plugin in the folder DIR (default: NAME), which must not be there yet: NAME.c, a "
    "unit\n"
    "test of it, a meson.build and a README. It compiles and passes its tests as it is.\n"
    "\n"
    "  auth     decides who may connect, publish, subscribe and receive\n"
    "  flow     changes, drops or holds messages\n"
    "  events   is told what happens\n"
    "  store    keeps sessions and messages\n"
    "  bus      carries messages between brokers\n"
    "  control  commands that other plugins ask and offer to people\n";

struct kind {
    const char *name, *use;
};

static const struct kind kinds[] = {
    { "auth", "Set its password: `plugins: { @name@: { options: { password: secret } } }`." },
    { "flow", "Set its bound: `plugins: { @name@: { options: { max_payload: 1M } } }`." },
    { "events", "It needs no configuration." },
    { "store", "Choose it: `persistence: @name@`." },
    { "bus", "Choose it: `bus: @name@`." },
    { "control",
      "Another plugin asks it: `call` of `<pigeon/admin.h>`, plugin `@name@`, command `status`." },
};

struct job {
    const struct kind *kind;
    const char *name, *dir;
};

#define CC "cc -Wall -O2 -shared -fPIC $(pkg-config --cflags pigeon-plugin) @name@.c -o @name@.so"

static const char *find_template(const char *name)
{
    for (const struct template *t = templates; t->name; t++)
        if (strcmp(t->name, name) == 0)
            return t->text;
    return NULL;
}

/* Writes `text` with its @words@ replaced. */
static void fill(FILE *out, const char *text, const struct job *job)
{
    const struct {
        const char *word, *value;
    } words[] = { { "@name@", job->name },
                  { "@kind@", job->kind->name },
                  { "@id@", "org.example.@name@" },
                  { "@use@", job->kind->use },
                  { "@cc@", CC } };

    while (*text) {
        size_t i = 0, n = sizeof(words) / sizeof(words[0]);

        while (i < n && strncmp(text, words[i].word, strlen(words[i].word)) != 0)
            i++;
        if (i < n) {
            fill(out, words[i].value, job);
            text += strlen(words[i].word);
        } else {
            fputc(*text++, out);
        }
    }
}

static int write_file(const struct job *job, const char *template, const char *name_format)
{
    const char *text = find_template(template);
    char path[1024];
    FILE *out;
    int fd, n;

    n = snprintf(path, sizeof(path), "%s/", job->dir);
    if (n < 0 || (size_t)n + strlen(name_format) + strlen(job->name) >= sizeof(path))
        return tool_usage("%s: the name is too long", job->dir);
    for (const char *f = name_format; *f; f++) {
        if (*f == '@')
            n += snprintf(path + n, sizeof(path) - (size_t)n, "%s", job->name);
        else
            path[n++] = *f;
    }
    path[n] = '\0';
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!out || !text) {
        if (fd >= 0)
            close(fd);
        return tool_usage("%s: %s", path, strerror(errno));
    }
    fill(out, text, job);
    n = ferror(out);
    return fclose(out) != 0 || n ? tool_usage("%s: %s", path, strerror(errno)) : TOOL_OK;
}

static int write_all(const struct job *job)
{
    char source[32], test[32];
    int r;

    snprintf(source, sizeof(source), "%s.c", job->kind->name);
    snprintf(test, sizeof(test), "test_%s.c", job->kind->name);
    r = write_file(job, source, "@.c");
    if (r == TOOL_OK)
        r = write_file(job, test, "test_@.c");
    if (r == TOOL_OK)
        r = write_file(job, "plugin.meson", "meson.build");
    if (r == TOOL_OK)
        r = write_file(job, "README.md", "README.md");
    return r;
}

static const char *wrong_name(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > 60)
        return "a name has 1 to 60 characters";
    if (!islower((unsigned char)name[0]))
        return "a name begins with a small letter";
    for (const char *s = name; *s; s++)
        if (!islower((unsigned char)*s) && !isdigit((unsigned char)*s) && *s != '-' && *s != '_')
            return "a name is made of small letters, digits, '-' and '_'";
    return NULL;
}

int tool_new(int argc, char **argv)
{
    struct job job = { 0 };
    const char *wrong;
    int r;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return TOOL_OK;
    }
    if (argc < 3 || argc > 4)
        return tool_usage("new needs a kind and a name: pigeon-plugin new auth my-auth");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(argv[1], kinds[i].name) == 0)
            job.kind = &kinds[i];
    if (!job.kind)
        return tool_usage("there is no kind '%s': it is auth, flow, events, store, bus or control",
                          argv[1]);
    job.name = argv[2];
    wrong = wrong_name(job.name);
    if (wrong)
        return tool_usage("'%s' does not do: %s", job.name, wrong);
    job.dir = argc == 4 ? argv[3] : job.name;
    if (mkdir(job.dir, 0777) != 0)
        return errno == EEXIST
                   ? tool_usage("%s is there already; name another folder: pigeon-plugin new %s %s "
                                "DIR",
                                job.dir, job.kind->name, job.name)
                   : tool_usage("%s: %s", job.dir, strerror(errno));
    r = write_all(&job);
    if (r != TOOL_OK)
        return r;
    printf("%s/ is a plugin now. Build and try it:\n\n  cd %s\n  ", job.dir, job.dir);
    fill(stdout, CC, &job);
    printf("\n  pigeon-plugin check %s.so\n\nor with meson: "
           "meson setup build && meson test -C build\n",
           job.name);
    return TOOL_OK;
}
