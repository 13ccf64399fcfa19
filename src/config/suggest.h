/* suggest.h - "did you mean": the nearest of the words that would have been right. No memory of its
 * own. */
#pragma once
#include "base/str.h"

struct suggest {
    struct str word;
    struct str best; /* STR_NULL: none is near enough */
    const char *prefix;
    unsigned distance;
};

void suggest_init(struct suggest *s, struct str word);
/* Damerau-Levenshtein distance; upper case, '-' and '_' are taken as alike. prefix: said before the
 * word, a string literal ("limits.") or "". */
void suggest_offer(struct suggest *s, struct str candidate, const char *prefix);
/* Offers each of "a|b|c". */
void suggest_offer_words(struct suggest *s, const char *words);
/* "; did you mean 'x'?" or "" into `out`; returns it. */
const char *suggest_text(const struct suggest *s, char *out, size_t room);
