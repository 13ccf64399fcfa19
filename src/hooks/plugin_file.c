#include "hooks/plugin_file.h"
#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <link.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTE_OWNER  "Pigeon"
#define PHDRS_MAX   128u
#define NOTES_MAX   (64u * 1024)
#define DYNAMIC_MAX 4096u

#if UINTPTR_MAX == 0xffffffffu
#define ELF_CLASS ELFCLASS32
#else
#define ELF_CLASS ELFCLASS64
#endif

#if defined(__x86_64__)
#define ELF_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define ELF_MACHINE EM_AARCH64
#elif defined(__i386__)
#define ELF_MACHINE EM_386
#elif defined(__arm__)
#define ELF_MACHINE EM_ARM
#elif defined(__riscv)
#define ELF_MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define ELF_MACHINE EM_PPC64
#elif defined(__s390x__)
#define ELF_MACHINE EM_S390
#else
#error "which ELF machine is this?"
#endif

struct reader {
    int fd;
    uint64_t size;
    ElfW(Phdr) phdrs[PHDRS_MAX];
    uint32_t n_phdrs;
    struct plugin_file *file;
    char *reason;
    size_t reason_size;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct reader *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(r->reason, r->reason_size, format, args);
    va_end(args);
    return -EINVAL;
}

/* 0 or -EINVAL: the file ends before. */
static int read_at(const struct reader *r, uint64_t offset, void *out, size_t len)
{
    size_t done = 0;

    if (offset > r->size || len > r->size - offset)
        return -EINVAL;
    while (done < len) {
        ssize_t n = pread(r->fd, (char *)out + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -EINVAL;
        done += (size_t)n;
    }
    return 0;
}

/* ---- who may have written it
 * --------------------------------------------------------------------- */

static uid_t program_owner(void)
{
    struct stat st;

    return stat("/proc/self/exe", &st) == 0 ? st.st_uid : 0;
}

static bool is_trusted(uid_t uid)
{
    return uid == 0 || uid == geteuid() || uid == program_owner();
}

/* A group that has the owner's name and no other member, as distributions make one for each user.
 */
static bool is_private_group(uid_t uid, gid_t gid)
{
    struct passwd pw, *p = NULL;
    struct group gr, *g = NULL;
    char pw_buf[4096], gr_buf[4096];

    if (getpwuid_r(uid, &pw, pw_buf, sizeof(pw_buf), &p) != 0 || !p || p->pw_gid != gid)
        return false;
    if (getgrgid_r(gid, &gr, gr_buf, sizeof(gr_buf), &g) != 0 || !g)
        return false;
    if (strcmp(g->gr_name, p->pw_name) != 0)
        return false;
    for (char **m = g->gr_mem; *m; m++)
        if (strcmp(*m, p->pw_name) != 0)
            return false;
    return true;
}

/* `what` is the file or a directory above it. In a sticky directory nobody but its owner replaces
 * an entry, and the owner of the entry has been judged before. */
static int judge_owner(struct reader *r, const char *what, const struct stat *st, bool is_above)
{
    bool is_sticky = S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX) && is_above;

    if (!is_trusted(st->st_uid))
        return refuse(
            r,
            "%s belongs to uid %u: only root, the broker's user and the owner of its program "
            "are trusted",
            what, (unsigned)st->st_uid);
    if ((st->st_mode & S_IWOTH) && !is_sticky)
        return refuse(r, "%s is writable by everybody", what);
    if ((st->st_mode & S_IWGRP) && !is_sticky && !is_private_group(st->st_uid, st->st_gid))
        return refuse(r, "%s is writable by the group %u", what, (unsigned)st->st_gid);
    return 0;
}

/* Every directory above `start`, which is resolved; the entry itself has been judged, or is a
 * directory. */
static int judge_above(struct reader *r, const char *start)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s", start);
    while (path[1] != '\0') {
        char *slash = strrchr(path, '/');
        struct stat st;
        int result;

        slash[slash == path ? 1 : 0] = '\0';
        if (lstat(path, &st) < 0)
            return refuse(r, "%s: %s", path, strerror(errno));
        result = judge_owner(r, path, &st, true);
        if (result < 0)
            return result;
    }
    return 0;
}

/* The file where it lies, and the directory where it was found, which may hold only a link to it.
 */
static int judge_owners(struct reader *r, const char *found_at, const struct stat *file)
{
    char link_path[PATH_MAX], dir[PATH_MAX];
    const char *slash = strrchr(found_at, '/');
    int result = judge_owner(r, r->file->path, file, false);

    if (result == 0)
        result = judge_above(r, r->file->path);
    if (result < 0)
        return result;
    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - found_at) + 1 : 1,
             slash ? found_at : ".");
    if (!realpath(dir, link_path))
        return refuse(r, "%s: %s", dir, strerror(errno));
    if (strlen(link_path) + 2 >= sizeof(link_path))
        return refuse(r, "its path is too long");
    strncat(link_path, "/x", sizeof(link_path) - strlen(link_path) - 1);
    return judge_above(r, link_path);
}

/* ---- ELF ----------------------------------------------------------------------------- */

/* 0, PLUGIN_FILE_FOREIGN, -EINVAL. */
static int read_header(struct reader *r)
{
    ElfW(Ehdr) eh;

    if (read_at(r, 0, &eh, sizeof(eh)) < 0 || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0) {
        refuse(r, "it is not an ELF file");
        return PLUGIN_FILE_FOREIGN;
    }
    if (eh.e_ident[EI_CLASS] != ELF_CLASS || eh.e_machine != ELF_MACHINE)
        return refuse(r, "it was built for another machine (ELF class %u, machine %u)",
                      eh.e_ident[EI_CLASS], eh.e_machine);
    if (eh.e_type != ET_DYN)
        return refuse(r, "it is not a shared object");
    if (eh.e_phentsize != sizeof(ElfW(Phdr)) || eh.e_phnum == 0 || eh.e_phnum > PHDRS_MAX ||
        read_at(r, eh.e_phoff, r->phdrs, eh.e_phnum * sizeof(ElfW(Phdr))) < 0)
        return refuse(r, "its ELF program headers are damaged");
    r->n_phdrs = eh.e_phnum;
    return 0;
}

/* Splits the manifest's text. false: it does not hold together. */
static bool split_text(struct plugin_file *f, size_t len)
{
    const char *at = f->text, *end = f->text + len;
    const char **fixed[] = { &f->id, &f->version, &f->summary, &f->license };
    uint32_t n = f->manifest.nprovides;

    if (n > PLUGIN_FILE_MAX_IFACES)
        return false;
    for (uint32_t i = 0; i < 4 + n; i++) {
        const char *nul = memchr(at, '\0', (size_t)(end - at));

        if (!nul)
            return false;
        if (i < 4)
            *fixed[i] = at;
        else
            f->ifaces[f->n_ifaces++] = at;
        at = nul + 1;
    }
    return f->id[0] != '\0';
}

static int take_manifest(struct reader *r, const char *desc, size_t len)
{
    struct plugin_file *f = r->file;
    size_t text_len;

    if (f->has_note)
        return refuse(r, "it has two Pigeon notes");
    f->has_note = true;
    if (len < sizeof(f->manifest))
        return refuse(r, "its manifest is cut off");
    memcpy(&f->manifest, desc, sizeof(f->manifest));
    if (f->manifest.magic != PIGEON_MAGIC)
        return refuse(r, "its manifest has the wrong magic number");
    text_len = len - sizeof(f->manifest);
    f->text = malloc(text_len + 1);
    if (!f->text)
        return -ENOMEM;
    memcpy(f->text, desc + sizeof(f->manifest), text_len);
    f->text[text_len] = '\0';
    if (!split_text(f, text_len))
        return refuse(r, "its manifest is damaged");
    return 0;
}

static uint64_t align_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static int scan_notes(struct reader *r, const char *notes, uint64_t len, uint64_t align)
{
    uint64_t at = 0;

    while (len - at >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) nh;
        uint64_t name, desc, next;
        int result;

        memcpy(&nh, notes + at, sizeof(nh));
        name = at + sizeof(nh);
        desc = at + align_up(sizeof(nh) + (uint64_t)nh.n_namesz, align);
        next = desc + align_up(nh.n_descsz, align);
        if (desc > len || nh.n_descsz > len - desc)
            return refuse(r, "its ELF notes are damaged");
        if (nh.n_type == PIGEON_NOTE_TYPE && nh.n_namesz == sizeof(NOTE_OWNER) &&
            memcmp(notes + name, NOTE_OWNER, sizeof(NOTE_OWNER)) == 0) {
            result = take_manifest(r, notes + desc, nh.n_descsz);
            if (result < 0)
                return result;
        }
        if (next > len)
            break;
        at = next;
    }
    return 0;
}

static int read_notes(struct reader *r)
{
    for (uint32_t i = 0; i < r->n_phdrs; i++) {
        const ElfW(Phdr) *ph = &r->phdrs[i];
        char *notes;
        int result;

        if (ph->p_type != PT_NOTE)
            continue;
        if (ph->p_filesz > NOTES_MAX)
            return refuse(r, "its ELF notes are too long");
        notes = malloc(ph->p_filesz + 1);
        if (!notes)
            return -ENOMEM;
        result = read_at(r, ph->p_offset, notes, ph->p_filesz) < 0
                     ? refuse(r, "its ELF notes lie outside of the file")
                     : scan_notes(r, notes, ph->p_filesz, ph->p_align == 8 ? 8 : 4);
        free(notes);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Offset in the file of what is mapped at `addr`; UINT64_MAX. */
static uint64_t offset_of(const struct reader *r, uint64_t addr)
{
    for (uint32_t i = 0; i < r->n_phdrs; i++) {
        const ElfW(Phdr) *ph = &r->phdrs[i];

        if (ph->p_type == PT_LOAD && addr >= ph->p_vaddr && addr - ph->p_vaddr < ph->p_filesz)
            return ph->p_offset + (addr - ph->p_vaddr);
    }
    return UINT64_MAX;
}

/* A library that the broker or its rivals bring along: two copies in one process do not get on
 * well. */
static bool is_doubtful(const char *library)
{
    static const char *const names[] = { "libssl.so",      "libcrypto.so",   "libev.so",
                                         "libjemalloc.so", "libtcmalloc.so", "libmimalloc.so" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(library, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static int judge_needed(struct reader *r, uint64_t strtab, const uint64_t *needed, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        char name[256] = { 0 };
        uint64_t at = offset_of(r, strtab);
        size_t len = sizeof(name) - 1;

        if (at == UINT64_MAX || at + needed[i] >= r->size)
            return refuse(r, "its list of libraries is damaged");
        at += needed[i];
        if (len > r->size - at)
            len = r->size - at;
        if (read_at(r, at, name, len) < 0)
            return refuse(r, "its list of libraries is damaged");
        if (is_doubtful(name) && !r->file->warning)
            r->file->warning = strdup(name);
    }
    return 0;
}

static int judge_dynamic(struct reader *r, const ElfW(Phdr) * ph)
{
    uint32_t n = (uint32_t)(ph->p_filesz / sizeof(ElfW(Dyn)));
    uint64_t needed[64], strtab = 0;
    uint32_t n_needed = 0;

    if (n > DYNAMIC_MAX)
        return refuse(r, "its dynamic section is too long");
    for (uint32_t i = 0; i < n; i++) {
        ElfW(Dyn) d;

        if (read_at(r, ph->p_offset + i * sizeof(d), &d, sizeof(d)) < 0)
            return refuse(r, "its dynamic section is damaged");
        if (d.d_tag == DT_NULL)
            break;
        if (d.d_tag == DT_TEXTREL || (d.d_tag == DT_FLAGS && (d.d_un.d_val & DF_TEXTREL)))
            return refuse(r, "it needs writable code (text relocations): build it with -fPIC");
        if (d.d_tag == DT_STRTAB)
            strtab = d.d_un.d_ptr;
        if (d.d_tag == DT_NEEDED && n_needed < sizeof(needed) / sizeof(needed[0]))
            needed[n_needed++] = d.d_un.d_val;
    }
    return judge_needed(r, strtab, needed, n_needed);
}

static int judge_segments(struct reader *r)
{
    bool has_stack = false;

    for (uint32_t i = 0; i < r->n_phdrs; i++) {
        const ElfW(Phdr) *ph = &r->phdrs[i];
        int result = 0;

        if (ph->p_type == PT_GNU_STACK) {
            has_stack = true;
            if (ph->p_flags & PF_X)
                return refuse(r, "it asks for an executable stack");
        } else if (ph->p_type == PT_LOAD && (ph->p_flags & PF_W) && (ph->p_flags & PF_X)) {
            return refuse(r, "it has a segment that is writable and executable");
        } else if (ph->p_type == PT_DYNAMIC) {
            result = judge_dynamic(r, ph);
        }
        if (result < 0)
            return result;
    }
    return has_stack ? 0 : refuse(r, "it does not say that its stack is not executable");
}

static int judge_abi(struct reader *r)
{
    const pigeon_manifest *m = &r->file->manifest;

    if (m->abi_major != PIGEON_ABI_MAJOR)
        return refuse(r, "it was built for plugin ABI %u, this broker has ABI %u", m->abi_major,
                      PIGEON_ABI_MAJOR);
    if (m->need_minor > PIGEON_ABI_MINOR)
        return refuse(r, "it needs plugin ABI %u.%u, this broker has %u.%u", m->abi_major,
                      m->need_minor, PIGEON_ABI_MAJOR, PIGEON_ABI_MINOR);
    if ((m->flags & PIGEON_F_SINGLE) && (m->flags & PIGEON_F_SHARED))
        return refuse(r, "its manifest says SINGLE and SHARED at once");
    return 0;
}

/* ---- all of it ----------------------------------------------------------------------- */

static int judge(struct reader *r, const char *found_at)
{
    struct stat st;
    int result;

    if (fstat(r->fd, &st) < 0)
        return refuse(r, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(r, "it is not a regular file");
    r->size = (uint64_t)st.st_size;
    r->file->dev = st.st_dev;
    r->file->ino = st.st_ino;
    result = read_header(r);
    if (result != 0)
        return result;
    result = read_notes(r);
    if (result < 0)
        return result;
    if (!r->file->has_note) {
        refuse(r, "it has no Pigeon note");
        return PLUGIN_FILE_FOREIGN;
    }
    result = judge_owners(r, found_at, &st);
    if (result < 0)
        return result;
    result = judge_segments(r);
    return result < 0 ? result : judge_abi(r);
}

int plugin_file_judge(const char *path, struct plugin_file *r_file, char *reason, size_t size)
{
    struct reader *r = calloc(1, sizeof(*r));
    const char *slash = strrchr(path, '/');
    int result;

    *r_file = (struct plugin_file){ 0 };
    if (size)
        reason[0] = '\0';
    if (!r)
        return -ENOMEM;
    r->file = r_file;
    r->reason = reason;
    r->reason_size = size;
    r->fd = -1;
    r_file->base = strdup(slash ? slash + 1 : path);
    r_file->path = realpath(path, NULL);
    if (!r_file->path) {
        result = refuse(r, "%s", strerror(errno));
        r_file->path = strdup(path);
    } else {
        r->fd = open(r_file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        result = r->fd < 0 ? refuse(r, "%s", strerror(errno)) : judge(r, path);
    }
    if (r->fd >= 0)
        close(r->fd);
    free(r);
    return r_file->base && r_file->path ? result : -ENOMEM;
}

void plugin_file_fini(struct plugin_file *file)
{
    free(file->path);
    free(file->base);
    free(file->text);
    free(file->warning);
    *file = (struct plugin_file){ 0 };
}

char *plugin_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t len = strlen(base), digits = 0;

    if (len > 3 && strcmp(base + len - 3, ".so") == 0)
        len -= 3;
    while (digits < len && isdigit((unsigned char)base[digits]))
        digits++;
    if (digits > 0 && digits + 1 < len && base[digits] == '-')
        return strndup(base + digits + 1, len - digits - 1);
    return strndup(base, len);
}

bool plugin_file_provides(const struct plugin_file *file, const char *id)
{
    for (uint32_t i = 0; i < file->n_ifaces; i++)
        if (strcmp(file->ifaces[i], id) == 0)
            return true;
    return false;
}
