#include "base/random.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

int random_bytes(void *r_out, size_t len)
{
    unsigned char *out = r_out;
    while (len) {
        ssize_t n = getrandom(out, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -EIO;
        out += n;
        len -= (size_t)n;
    }
    return 0;
}

uint64_t random_u64(void)
{
    uint64_t number;
    do {
        if (random_bytes(&number, sizeof(number)) < 0)
            abort();
    } while (number == 0);
    return number;
}
