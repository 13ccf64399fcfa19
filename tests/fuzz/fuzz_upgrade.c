#include "fuzz_support.h"
#include "net/upgrade.h"
#include <string.h>

static int parse(const uint8_t *data, size_t len, size_t *scanned, struct upgrade *u)
{
    static const char *const origins[] = { "https://app.example" };
    static const struct upgrade_rules rules[] = {
        { .path = NULL },
        { .path = "/mqtt", .origins = origins, .n_origins = 1 },
    };
    return upgrade_parse(data, len, scanned, &rules[len & 1], u);
}

/* Input: a request. Whatever the pieces it comes in, the verdict is one, and has an answer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct upgrade u = { 0 }, again;
    char answer[UPGRADE_ANSWER_MAX];
    size_t scanned = 0, pieces = 0;
    int rc = parse(data, size, &scanned, &u);
    for (size_t n = 0; n < size && upgrade_parse(data, n, &pieces, &(struct upgrade_rules){ 0 },
                                                 &again) == UPGRADE_NEED_MORE;
         n += 1 + n % 7)
        FUZZ_CHECK(pieces == n);
    pieces = pieces < size ? pieces : 0;
    FUZZ_CHECK(parse(data, size, &pieces, &again) == rc);
    if (rc == UPGRADE_NEED_MORE) {
        FUZZ_CHECK(size < UPGRADE_MAX);
        return 0;
    }
    FUZZ_CHECK(rc == 0 && u.status == again.status && u.len == again.len && u.len <= size);
    FUZZ_CHECK((u.status == 101) == (u.fault == NULL));
    FUZZ_CHECK(u.status == 101 || (u.status >= 400 && u.status <= 431));
    size_t n = upgrade_answer(&u, answer);
    FUZZ_CHECK(n > 0 && n < sizeof(answer));
    FUZZ_CHECK(memmem(answer, n, "\r\n\r\n", 4));
    return 0;
}
