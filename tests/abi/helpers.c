/* What <pigeon/util.h> promises. Compiled as C99 and as C++17, run; one line per case. */
#include <pigeon/plugin.h>

static int n_failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    n_failed += !ok;
}

static int matches(const char *filter, const char *topic)
{
    return pigeon_topic_matches(pigeon_z(filter), pigeon_z(topic));
}

static void topics(void)
{
    static const char *const yes[][2] = {
        { "a", "a" },
        { "a/b", "a/b" },
        { "#", "a" },
        { "#", "/" },
        { "a/#", "a" },
        { "a/#", "a/" },
        { "a/#", "a/b/c" },
        { "+", "a" },
        { "+/b", "a/b" },
        { "+/b", "/b" },
        { "a/+", "a/" },
        { "+/+", "/" },
        { "+/#", "a" },
        { "+/#", "a/b/c" },
        { "/+", "/a" },
        { "$SYS/#", "$SYS/a" },
        { "$SYS/+/b", "$SYS/a/b" },
        { "a/+/c/#", "a/b/c" },
        { "/", "/" },
        { "a//b", "a//b" },
    };
    static const char *const no[][2] = {
        { "a", "b" },        { "a", "a/" },    { "a", "A" },         { "a/", "a" },
        { "a/b", "a" },      { "+", "/a" },    { "+", "a/" },        { "a/+", "a" },
        { "a/+", "a/b/c" },  { "a/#", "ab" },  { "a/#", "b" },       { "#", "$SYS/a" },
        { "+/a", "$SYS/a" }, { "+/+", "a" },   { "a/+/c", "a/b/d" }, { "ab", "a" },
        { "a", "ab" },       { "a/b/#", "a" },
    };

    for (uint32_t i = 0; i < PIGEON_COUNT(yes); i++)
        check(matches(yes[i][0], yes[i][1]), yes[i][0]);
    for (uint32_t i = 0; i < PIGEON_COUNT(no); i++)
        check(!matches(no[i][0], no[i][1]), no[i][0]);
    check(!pigeon_topic_matches(pigeon_z(NULL), pigeon_z("a")), "an empty filter matches nothing");
}

static int same(const char *secret, const char *given)
{
    return pigeon_same(pigeon_data(secret, strlen(secret)), pigeon_data(given, strlen(given)));
}

static void secrets(void)
{
    check(same("secret", "secret"), "the secret is the secret");
    check(!same("secret", "secre"), "a prefix of the secret is not");
    check(!same("secret", "secret!"), "the secret and more is not");
    check(!same("secret", "secrex"), "one byte is enough of a difference");
    check(!same("ab", "abab"), "the secret twice is not");
    check(!same("secret", "") && !same("", "secret"), "nothing is not the secret");
    check(same("", ""), "nothing is nothing");
}

static void properties(void)
{
    static const uint8_t wire[] = { 0x01, 1,                    /* payload format */
                                    0x03, 0,    2,    't', 'x', /* content type */
                                    0x09, 0,    0,              /* correlation data */
                                    0x0b, 0x80, 0x01,           /* identifier 128 */
                                    0x11, 0,    1,    0,   2,   /* u32 */
                                    0x21, 0x12, 0x34,           /* u16 */
                                    0x26, 0,    1,    'n', 0,   3, 'v', 'a', 'l' };
    pigeon_bytes rest = pigeon_data(wire, sizeof(wire));
    pigeon_prop p;
    int whole = 0;

    check(pigeon_prop_next(&rest, &p) == 1 && p.id == 1 && p.number == 1, "a byte");
    check(pigeon_prop_next(&rest, &p) == 1 && p.id == 3 && p.value.len == 2 &&
              p.value.ptr[1] == 'x',
          "a text");
    check(pigeon_prop_next(&rest, &p) == 1 && p.id == 9 && p.value.len == 0, "empty binary data");
    check(pigeon_prop_next(&rest, &p) == 1 && p.id == 11 && p.number == 128, "a variable integer");
    check(pigeon_prop_next(&rest, &p) == 1 && p.id == 17 && p.number == 0x10002, "four bytes");
    check(pigeon_prop_next(&rest, &p) == 1 && p.id == 33 && p.number == 0x1234, "two bytes");
    check(pigeon_prop_next(&rest, &p) == 1 && p.id == 38 &&
              pigeon_eq(p.name, pigeon_text("n", 1)) && p.value.len == 3 && p.value.ptr[2] == 'l',
          "a user property");
    check(pigeon_prop_next(&rest, &p) == 0, "and then no more");
    for (uint32_t cut = 1; cut < sizeof(wire); cut++) {
        int32_t r;

        rest = pigeon_data(wire, cut);
        while ((r = pigeon_prop_next(&rest, &p)) == 1)
            ;
        whole += r == 0;
    }
    check(whole == 6, "what is cut within a property is malformed");
}

static void malformed(void)
{
    static const uint8_t unknown[] = { 0x7f, 0 }, zero[] = { 0, 0 },
                         endless[] = { 0x0b, 0xff, 0xff, 0xff, 0xff, 0x01 };
    pigeon_bytes rest = pigeon_data(unknown, sizeof(unknown));
    pigeon_prop p;

    check(pigeon_prop_next(&rest, &p) == PIGEON_E_INVAL, "an unknown property is malformed");
    rest = pigeon_data(zero, sizeof(zero));
    check(pigeon_prop_next(&rest, &p) == PIGEON_E_INVAL, "property 0 is malformed");
    rest = pigeon_data(endless, sizeof(endless));
    check(pigeon_prop_next(&rest, &p) == PIGEON_E_INVAL, "an integer of five bytes is malformed");
}

static char line[2048];

static void take_line(void *inst, uint32_t level, const char *text)
{
    (void)inst;
    (void)level;
    snprintf(line, sizeof(line), "%s", text);
}

static void logging(void)
{
    static char text[3000];
    pigeon_host host;

    memset(&host, 0, sizeof(host));
    host.log = take_line;
    pigeon_logf(&host, PIGEON_LOG_INFO, "%s=%d", "n", 7);
    check(strcmp(line, "n=7") == 0, "a log line is formatted");
    memset(text, 'x', sizeof(text) - 1);
    pigeon_logf(&host, PIGEON_LOG_INFO, "%s", text);
    check(strlen(line) == 1023, "a long log line is cut");
}

int main(void)
{
    topics();
    secrets();
    properties();
    malformed();
    logging();
    return n_failed != 0;
}
