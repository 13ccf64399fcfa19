/* symbols.h - what a shared object exports, read from the file without running it. */
#pragma once
#include <stdint.h>

struct symbols {
    uint32_t n_plugin; /* pigeon_plugin_v<N> */
    uint32_t n_other;  /* strong ones besides; weak ones are the C++ library's templates */
    char first[128];   /* of the others */
};

/* 0, or a negative errno: the file cannot be read, or has no symbol table. */
int symbols_read(const char *path, struct symbols *r_symbols);
