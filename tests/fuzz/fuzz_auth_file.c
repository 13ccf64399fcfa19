#include "fuzz_support.h"
#include "hash.h"
#include "users.h"
#include <errno.h>
#include <string.h>

/* Input: the text of a password file. A refusal must have a reason; whom it has can be found. The
 * hashes are computed only where that takes no time. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct users *users = NULL;
    char err[256] = "";
    int r = users_parse("f", data, size, err, sizeof(err), &users);

    FUZZ_CHECK(r == 0 ? users != NULL : r == -EINVAL && !users && err[0]);
    if (!users)
        return 0;
    for (size_t i = 0; i < users_count(users); i++) {
        const struct user *u = users_at(users, i);

        FUZZ_CHECK(users_find(users, u->name) == u && !hash_fault(u->hash));
        if (strncmp(u->hash, "$6$", 3) == 0 && strlen(u->hash) > 4 + 86 &&
            !strstr(u->hash, "rounds="))
            hash_verify(u->hash, "secret", 6);
    }
    users_unref(&users);
    return 0;
}
