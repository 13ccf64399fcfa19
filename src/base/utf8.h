/* utf8.h - MQTT's rule for strings. Checks and decodes, never repairs and never allocates. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Well-formed UTF-8 without U+0000 and without surrogates [MQTT-1.5.4-1] [MQTT-1.5.4-2]. U+FEFF,
 * control characters and non-characters are accepted. */
bool utf8_is_mqtt(const char *text, size_t len);
/* As above, but U+0000 is allowed: for a payload whose format indicator says UTF-8. */
bool utf8_is_valid(const char *text, size_t len);
/* Decodes the first character: its length in bytes (1-4), or 0 when it is malformed, cut off or len
 * is 0. */
size_t utf8_decode(const char *text, size_t len, uint32_t *r_code);
