/* error_name.h - PIGEON_E_* in words, for messages; private to hooks/.
 *
 * Only for people: nothing reads a name back. */
#pragma once
#include <pigeon/types.h>

/* The name of the constant; a number that is none of them has no name. */
static inline const char *error_name(int32_t error)
{
    switch (error) {
    case PIGEON_E_INVAL: return "PIGEON_E_INVAL";
    case PIGEON_E_NOMEM: return "PIGEON_E_NOMEM";
    case PIGEON_E_GONE: return "PIGEON_E_GONE";
    case PIGEON_E_NOTSUP: return "PIGEON_E_NOTSUP";
    case PIGEON_E_IO: return "PIGEON_E_IO";
    case PIGEON_E_BUSY: return "PIGEON_E_BUSY";
    case PIGEON_E_FENCED: return "PIGEON_E_FENCED";
    case PIGEON_E_FULL: return "PIGEON_E_FULL";
    case PIGEON_E_TOOBIG: return "PIGEON_E_TOOBIG";
    case PIGEON_E_STALE: return "PIGEON_E_STALE";
    case PIGEON_E_UNKNOWN: return "PIGEON_E_UNKNOWN";
    case PIGEON_E_THREAD: return "PIGEON_E_THREAD";
    default: return "an unknown error code";
    }
}
