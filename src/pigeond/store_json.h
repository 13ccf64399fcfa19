/* store_json.h - the JSON of a store's dump: one flat object per line, read strictly.
 *
 * Values are strings, whole numbers, true, false, null, and lists of whole numbers; no fractions,
 * no objects within. Reading works in the line's own memory: a string is unescaped where it stands
 * and lives as long as the line. The first error sticks; nothing is allocated. */
#pragma once
#include "base/buf.h"

#define JSON_LIST_MAX 256

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_LIST };

struct json_value {
    enum json_type type;
    bool negative; /* of the number */
    uint64_t number;
    char *text; /* may contain any byte but is well-formed UTF-8 */
    uint32_t len;
    uint32_t list[JSON_LIST_MAX], n_list;
};

struct json {
    char *at, *end;
    bool first;
    const char *error; /* NULL: none */
};

/* The line's bytes are changed while it is read. */
void json_open(struct json *j, char *line, size_t len);
/* true: a member's name and value; false: the object and the line have ended, or there is an error.
 */
bool json_next(struct json *j, struct str *r_name, struct json_value *r_value);

/* Appends the text in quotation marks; it must be utf8_is_valid. 0 or -ENOMEM. */
int json_put_string(struct buf *out, struct str text);
