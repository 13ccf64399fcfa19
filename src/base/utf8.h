/* utf8.h - MQTT's rule for strings. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 without U+0000 and without surrogates [MQTT-1.5.4-1] [MQTT-1.5.4-2]. U+FEFF, control
 * characters and non-characters are accepted. */
bool utf8_is_mqtt(const char *text, size_t len);
/* As above, but U+0000 is allowed: for a payload whose format indicator says UTF-8. */
bool utf8_is_valid(const char *text, size_t len);
