#include "plugin_tool/symbols.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLUGIN "pigeon_plugin_v"
#define ODR    "__odr_asan." /* AddressSanitizer's shadow of an exported constant */

struct image {
    const unsigned char *data;
    size_t len;
};

static bool fits(const struct image *i, uint64_t offset, uint64_t len)
{
    return offset <= i->len && len <= i->len - offset;
}

static void count(const struct image *i, const ElfW(Sym) * sym, const ElfW(Shdr) * strings,
                  struct symbols *out)
{
    unsigned bind = sym->st_info >> 4, visibility = sym->st_other & 3;
    const char *name = (const char *)i->data + strings->sh_offset + sym->st_name;

    if (sym->st_shndx == SHN_UNDEF || bind != STB_GLOBAL ||
        (visibility != STV_DEFAULT && visibility != STV_PROTECTED) ||
        sym->st_name >= strings->sh_size || !memchr(name, '\0', strings->sh_size - sym->st_name))
        return;
    if (strncmp(name, ODR, sizeof(ODR) - 1) == 0)
        return;
    if (strncmp(name, PLUGIN, sizeof(PLUGIN) - 1) == 0)
        out->n_plugin++;
    else if (out->n_other++ == 0)
        snprintf(out->first, sizeof(out->first), "%s", name);
}

static int read_section(const struct image *i, const ElfW(Shdr) * headers, uint32_t n,
                        const ElfW(Shdr) * s, struct symbols *out)
{
    ElfW(Shdr) strings;

    if (s->sh_entsize != sizeof(ElfW(Sym)) || s->sh_link >= n || !fits(i, s->sh_offset, s->sh_size))
        return -EINVAL;
    memcpy(&strings, &headers[s->sh_link], sizeof(strings));
    if (!fits(i, strings.sh_offset, strings.sh_size))
        return -EINVAL;
    for (uint64_t at = 0; at + sizeof(ElfW(Sym)) <= s->sh_size; at += sizeof(ElfW(Sym))) {
        ElfW(Sym) sym;

        memcpy(&sym, i->data + s->sh_offset + at, sizeof(sym));
        count(i, &sym, &strings, out);
    }
    return 0;
}

static int read_image(const struct image *i, struct symbols *out)
{
    ElfW(Ehdr) eh;

    if (i->len < sizeof(eh))
        return -EINVAL;
    memcpy(&eh, i->data, sizeof(eh));
    if (eh.e_shentsize != sizeof(ElfW(Shdr)) || eh.e_shoff % _Alignof(ElfW(Shdr)) != 0 ||
        !fits(i, eh.e_shoff, (uint64_t)eh.e_shnum * sizeof(ElfW(Shdr))))
        return -EINVAL;
    const ElfW(Shdr) *headers = (const ElfW(Shdr) *)(const void *)(i->data + eh.e_shoff);
    for (uint32_t k = 0; k < eh.e_shnum; k++)
        if (headers[k].sh_type == SHT_DYNSYM)
            return read_section(i, headers, eh.e_shnum, &headers[k], out);
    return -ENOENT;
}

int symbols_read(const char *path, struct symbols *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r;
    struct stat st;

    *out = (struct symbols){ 0 };
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0 || st.st_size <= 0) {
        close(fd);
        return -EINVAL;
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return -errno;
    struct image image = { map, (size_t)st.st_size };
    r = read_image(&image, out);
    munmap(map, (size_t)st.st_size);
    return r;
}
