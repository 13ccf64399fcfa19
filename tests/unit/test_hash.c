#include "base/hash.h"
#include "unit.h"
#include <stdlib.h>
#include <string.h>

/* SipHash written once more from its description, byte by byte and with the numbers of rounds free.
 */
static uint64_t turn(uint64_t x, int n)
{
    return (x << n) | (x >> (64 - n));
}

static void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1], v[2] += v[3];
        v[1] = turn(v[1], 13), v[3] = turn(v[3], 16);
        v[1] ^= v[0], v[3] ^= v[2];
        v[0] = turn(v[0], 32);
        v[2] += v[1], v[0] += v[3];
        v[1] = turn(v[1], 17), v[3] = turn(v[3], 21);
        v[1] ^= v[2], v[3] ^= v[0];
        v[2] = turn(v[2], 32);
    }
}

static uint64_t siphash(int c, int d, const unsigned char key[16], const unsigned char *data,
                        size_t len)
{
    uint64_t k[2] = { 0, 0 };
    for (int i = 0; i < 16; i++)
        k[i / 8] |= (uint64_t)key[i] << (i % 8 * 8);
    uint64_t v[4];
    const char *constant = "somepseudorandomlygeneratedbytes";
    for (int i = 0; i < 4; i++) {
        v[i] = 0;
        for (int j = 0; j < 8; j++)
            v[i] = v[i] << 8 | (unsigned char)constant[i * 8 + j];
        v[i] ^= k[i % 2];
    }
    size_t padded = (len / 8 + 1) * 8;
    for (size_t i = 0; i < padded; i += 8) {
        uint64_t m = 0;
        for (size_t j = 0; j < 8; j++) {
            unsigned char byte = i + j < len ? data[i + j] : 0;
            if (i + j == padded - 1)
                byte = (unsigned char)len;
            m |= (uint64_t)byte << (8 * j);
        }
        v[3] ^= m;
        rounds(v, c);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    rounds(v, d);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct hash_key key_of(const unsigned char bytes[16])
{
    struct hash_key key = { 0, 0 };
    for (int i = 0; i < 8; i++) {
        key.k0 |= (uint64_t)bytes[i] << (8 * i);
        key.k1 |= (uint64_t)bytes[8 + i] << (8 * i);
    }
    return key;
}

static void the_second_implementation_gives_the_published_2_4_vector(void **state)
{
    (void)state;
    unsigned char key[16], data[15];
    for (unsigned i = 0; i < 16; i++)
        key[i] = (unsigned char)i;
    memcpy(data, key, sizeof(data));
    /* Appendix A of the SipHash paper. */
    assert_true(siphash(2, 4, key, data, 15) == UINT64_C(0xa129ca6149be45e5));
}

static void hashes_are_siphash_1_3_for_every_length(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t len = 0; len < 600; len++) {
        unsigned char key[16], *data = malloc(len + 1);
        for (int i = 0; i < 16; i++)
            key[i] = (unsigned char)unit_random(&seed);
        for (size_t i = 0; i < len; i++)
            data[i] = (unsigned char)unit_random(&seed);
        struct hash_key k = key_of(key);
        assert_true(hash_bytes(&k, data, len) == siphash(1, 3, key, data, len));
        free(data);
    }
}

static void hashes_agree_with_what_cpython_computes_under_the_zero_key(void **state)
{
    (void)state;
    /* PYTHONHASHSEED=0 python3.11 -c 'print(hash(b"..."))' */
    static const struct {
        const char *text;
        uint64_t hash;
    } vector[] = {
        { "a", UINT64_C(0x407448d2b89b1813) },
        { "abcdefg", UINT64_C(0x6db12aae9070f506) },
        { "abcdefgh", UINT64_C(0x3f7b849c0b8e35ea) },
        { "client/0001/temperature", UINT64_C(0xca71f60a41faf98a) },
    };
    struct hash_key zero = { 0, 0 };
    for (size_t i = 0; i < sizeof(vector) / sizeof(*vector); i++)
        assert_true(hash_bytes(&zero, vector[i].text, strlen(vector[i].text)) == vector[i].hash);
}

static void the_alignment_of_the_data_does_not_matter(void **state)
{
    (void)state;
    struct hash_key key = { 1, 2 };
    char room[64];
    uint64_t first = hash_bytes(&key, "sensors/kitchen/temp", 20);
    for (size_t shift = 0; shift < 16; shift++) {
        memcpy(room + shift, "sensors/kitchen/temp", 20);
        assert_true(hash_bytes(&key, room + shift, 20) == first);
    }
}

static void the_empty_view_can_be_hashed(void **state)
{
    (void)state;
    struct hash_key key = { 1, 2 };
    assert_true(hash_bytes(&key, NULL, 0) == hash_bytes(&key, "", 0));
}

static void two_keys_made_in_one_process_differ(void **state)
{
    (void)state;
    struct hash_key a = { 0, 0 }, b = { 0, 0 };
    assert_int_equal(hash_key_init(&a), 0);
    assert_int_equal(hash_key_init(&b), 0);
    assert_true(a.k0 != b.k0 || a.k1 != b.k1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_implementation_gives_the_published_2_4_vector),
        cmocka_unit_test(hashes_are_siphash_1_3_for_every_length),
        cmocka_unit_test(hashes_agree_with_what_cpython_computes_under_the_zero_key),
        cmocka_unit_test(the_alignment_of_the_data_does_not_matter),
        cmocka_unit_test(the_empty_view_can_be_hashed),
        cmocka_unit_test(two_keys_made_in_one_process_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
