#include "acl.h"
#include "fuzz_support.h"
#include <errno.h>
#include <string.h>

static int take(void *arg, const char *filter, size_t len, unsigned access)
{
    unsigned *n = arg;

    FUZZ_CHECK(len > 0 && len <= 65535 && filter && access && access <= ACL_DENY);
    FUZZ_CHECK(!memchr(filter, '\0', len));
    ++*n;
    return 0;
}

static int count(void *arg, const char *user)
{
    unsigned *n = arg;

    FUZZ_CHECK(!user || *user);
    ++*n;
    return 0;
}

static void use(const struct acl_file *file)
{
    static const char *const users[] = { NULL, "", "alice", "a/b", "+", "$x", "%c" };
    unsigned n = 0;

    FUZZ_CHECK(acl_file_n_rules(file) > 0);
    for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++)
        FUZZ_CHECK(acl_file_each(file, users[i], i % 2 ? "c1" : "d/%u", take, &n) == 0);
    n = 0;
    FUZZ_CHECK(acl_file_each_hidden(file, take, &n) == 0 && n > 0);
    n = 0;
    FUZZ_CHECK(acl_file_diff(file, file, count, &n) == 0 && n == 0);
}

/* Input: the text of an ACL file, and the same without its first byte as the file before. A refusal
 * must have a reason. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct acl_file *file = NULL, *before = NULL;
    char err[256] = "";
    unsigned n = 0;
    int r = acl_file_parse("f", data, size, err, sizeof(err), &file);

    FUZZ_CHECK(r == 0 ? file != NULL : r == -EINVAL && !file && err[0]);
    if (!file)
        return 0;
    use(file);
    if (acl_file_parse("f", data + 1, size - 1, err, sizeof(err), &before) == 0)
        FUZZ_CHECK(acl_file_diff(before, file, count, &n) == 0);
    acl_file_free(&before);
    acl_file_free(&file);
    return 0;
}
