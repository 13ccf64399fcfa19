#include "config/suggest.h"
#include <stdio.h>

#define MAX_WORD 40 /* longer words are never near anything */

void suggest_init(struct suggest *s, struct str word)
{
    *s = (struct suggest){ .word = word, .prefix = "" };
    unsigned near = word.len / 3;
    s->distance = (near ? near : 1) + 1;
}

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static unsigned min2(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: insert, delete, replace, swap neighbours, each costs one. */
static unsigned distance(struct str a, struct str b)
{
    unsigned row[3][MAX_WORD + 1];
    for (uint32_t j = 0; j <= b.len; j++)
        row[0][j] = j;
    for (uint32_t i = 1; i <= a.len; i++) {
        unsigned *now = row[i % 3], *before = row[(i - 1) % 3], *earlier = row[(i + 1) % 3];
        now[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            char x = fold(a.ptr[i - 1]), y = fold(b.ptr[j - 1]);
            unsigned best = min2(before[j] + 1, now[j - 1] + 1);
            best = min2(best, before[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == fold(b.ptr[j - 2]) && fold(a.ptr[i - 2]) == y)
                best = min2(best, earlier[j - 2] + 1);
            now[j] = best;
        }
    }
    return row[a.len % 3][b.len];
}

void suggest_offer(struct suggest *s, struct str candidate, const char *prefix)
{
    if (!s->word.len || s->word.len > MAX_WORD || candidate.len > MAX_WORD)
        return;
    unsigned d = distance(s->word, candidate);
    if (d >= s->distance || d >= candidate.len)
        return;
    s->distance = d;
    s->best = candidate;
    s->prefix = prefix;
}

void suggest_offer_words(struct suggest *s, const char *words)
{
    while (words && *words) {
        size_t len = strcspn(words, "|");
        suggest_offer(s, str_make(words, len), "");
        words += len + (words[len] == '|');
    }
}

const char *suggest_text(const struct suggest *s, char *out, size_t room)
{
    out[0] = '\0';
    if (s->best.ptr)
        snprintf(out, room, "; did you mean '%s" STR_FMT "'?", s->prefix, STR_ARG(s->best));
    return out;
}
