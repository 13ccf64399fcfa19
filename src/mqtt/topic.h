/* topic.h - topic names and topic filters: syntax, levels, matching. Pure; input is MQTT text
 * already (UTF-8 without NUL, wire/ sees to that). */
#pragma once
#include "base/str.h"

#define TOPIC_MAX_LEVELS 65536

/* At least one character, no wildcard [MQTT-3.3.2-2] [MQTT-4.7.3-1], at most max_levels levels. */
bool topic_is_name(struct str topic, uint32_t max_levels);
/* Wildcards stand alone in their level, '#' is last [MQTT-4.7.1-1] [MQTT-4.7.1-2]. Without $share/.
 */
bool topic_is_filter(struct str filter, uint32_t max_levels);
bool topic_has_wildcard(struct str filter);
uint32_t topic_levels(struct str topic);
/* Matching by the letter, level by level; a leading wildcard does not match a leading '$'
 * [MQTT-4.7.2-1]. */
bool topic_matches(struct str filter, struct str topic);
/* Every topic that `inner` (a filter or name) matches is matched by `outer`. */
bool topic_covers(struct str outer, struct str inner);
/* Some topic is matched by both. */
bool topic_intersects(struct str a, struct str b);

enum topic_share { TOPIC_NOT_SHARED, TOPIC_SHARED, TOPIC_SHARE_BAD };
/* Splits "$share/NAME/FILTER" [MQTT-4.8.2-1] [MQTT-4.8.2-2]; NOT_SHARED: *r_filter is `text`
 * itself. */
enum topic_share topic_split_share(struct str text, struct str *r_name, struct str *r_filter);
