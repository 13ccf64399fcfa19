/* pigeon/plugin.h - plugin ABI 1 of the Pigeon MQTT broker. Includes everything; needs libc headers only.
 *
 * Changes (a golden copy of all layouts changes only together with a line here; not yet frozen):
 *   2026-11-24  1.0  first version
 *   2026-11-24  1.0  admin.h; pigeon_req.flags
 *   2026-11-24  1.0  thread.h, which is not included here
 *   2026-11-24  1.0  pigeon_msg.received_ms, .flags
 *   2026-11-24  1.0  PIGEON_SCAN_SUMS, pigeon_queue_sum
 *   2026-11-24  1.0  pigeon_client.peer_pid, .peer_uid, .peer_gid
 *
 * A plugin is a shared object that exports one constant, `pigeon_plugin_v1`, written by PIGEON_PLUGIN.
 * The laws of growth, memory and threads are on top of <pigeon/types.h>.
 */
#ifndef PIGEON_PLUGIN_H
#define PIGEON_PLUGIN_H

#include <pigeon/types.h>
#include <pigeon/option.h>
#include <pigeon/host.h>
#include <pigeon/auth.h>
#include <pigeon/flow.h>
#include <pigeon/events.h>
#include <pigeon/store.h>
#include <pigeon/bus.h>
#include <pigeon/control.h>
#include <pigeon/admin.h>
#include <pigeon/util.h>

/* cancel: why */
#define PIGEON_CANCEL_GONE     1 /* the client is gone */
#define PIGEON_CANCEL_DEADLINE 2
#define PIGEON_CANCEL_STOP     3 /* the broker stops   */

typedef struct pigeon_iface { /* frozen */
    const char *id;
    const void *vtable;
} pigeon_iface;

/* Flags of a plugin, in the manifest, readable without running its code. Default: one instance per event
 * loop, all calls about one client from its loop, in order, nothing concurrent within an instance. */
#define PIGEON_F_SINGLE    1u  /* one instance on one loop; calls from other loops hop there             */
#define PIGEON_F_SHARED    2u  /* one instance, called concurrently from all loops: the author locks     */
#define PIGEON_F_MAY_BLOCK 4u  /* must run on worker threads, never on an event loop                     */
#define PIGEON_F_ON_DEMAND 8u  /* takes part only when the configuration names it                        */
#define PIGEON_F_OPTIONAL  16u /* events, metrics, control: `required: false` may turn failure to a warning */

typedef struct pigeon_plugin {
    uint32_t            magic;
    uint32_t            size;
    uint16_t            abi_major; /* of the header it was built with  */
    uint16_t            abi_minor;
    uint16_t            need_minor; /* lowest host minor it works with */
    uint16_t            rsv;
    uint32_t            flags;
    uint32_t            rsv2;
    const char         *id;
    const char         *version;
    const char         *summary;
    const char         *license;
    const pigeon_iface *provides;
    uint32_t            nprovides;
    uint32_t            rsv3;
    const pigeon_option *options;
    uint32_t            noptions;
    uint32_t            option_stride;
    /* All [loop]; NULL where there is nothing to do. */
    /* `pigeond -t` and before create: judge the options without side effects. */
    int32_t (*check)(const pigeon_host *host, const pigeon_conf *conf);
    /* Makes one instance. host and conf live until destroy. On failure nothing is left behind. */
    int32_t (*create)(const pigeon_host *host, const pigeon_conf *conf, void **self);
    void (*destroy)(void *self);
    /* Reload in two steps: prepare judges and builds `next`, on all instances; then either all commit (which
     * cannot fail) or all abort. NULL: options marked PIGEON_O_RELOAD do not exist. */
    int32_t (*prepare)(void *self, const pigeon_conf *conf, void **next);
    void (*commit)(void *self, void *next);
    void (*abort)(void *self, void *next);
    /* The broker stops: end threads and connections. PIGEON_PENDING: complete(token, PIGEON_OK) follows. */
    int32_t (*quiesce)(void *self, pigeon_token token);
    /* A pending question is void: PIGEON_CANCEL_*. Its complete() returns PIGEON_E_GONE and must still come. */
    void (*cancel)(void *self, pigeon_token token, int32_t why);
    /* Frees what the plugin left in pigeon_req.client_slot; once for every non-NULL slot. */
    void (*client_free)(void *self, void *slot);
} pigeon_plugin;

#ifdef __cplusplus
extern "C" {
#endif
extern PIGEON_EXPORT const pigeon_plugin pigeon_plugin_v1; /* the only symbol a plugin exports */
#ifdef __cplusplus
}
#endif

/* The manifest: an ELF note, section .note.pigeon, owner "Pigeon", type 1, that says what a file is without
 * running any code of it. Text: id, version, summary, license, then the interfaces, NUL-terminated each. */
typedef struct pigeon_manifest {
    uint32_t magic;
    uint16_t abi_major;
    uint16_t abi_minor;
    uint16_t need_minor;
    uint16_t nprovides;
    uint32_t flags;
} pigeon_manifest; /* the text follows */
#define PIGEON_NOTE_TYPE 1u

/* PIGEON_PLUGIN(id, version, summary, license, flags, (provided interfaces), further members...)
 *
 *     PIGEON_PLUGIN("org.example.hello", "1.0", "says hello", "MIT", 0,
 *                   (PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)),
 *                   PIGEON_OPTIONS(options), .create = create, .destroy = destroy);
 *
 * id, version, summary, license and interface ids must be string literals; up to 6 interfaces. Members follow
 * in the order of the struct (C++ insists). Everything is stated once: note and descriptor come from here. */
#define PIGEON_OPTIONS(table)                                                                      \
    .options = (table), .noptions = PIGEON_COUNT(table), .option_stride = (uint32_t)sizeof((table)[0])
#define PIGEON_PROVIDES(iface, vtable) (iface, vtable)

#ifndef PIGEON_NEED_MINOR
#define PIGEON_NEED_MINOR 0u
#endif

#define PIGEON_CAT_(a, b)       a##b
#define PIGEON_CAT2_(a, b)      PIGEON_CAT_(a, b)
#define PIGEON_FIRST_(pair)     PIGEON_FIRST2_ pair
#define PIGEON_FIRST2_(id, vt)  id
#define PIGEON_PAIR_(pair)      PIGEON_PAIR2_ pair
#define PIGEON_PAIR2_(id, vt)   { id, vt }
#define PIGEON_UNPACK_(...)     __VA_ARGS__
#define PIGEON_NARGS_(...)      PIGEON_NARGS2_(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0)
#define PIGEON_NARGS2_(a, b, c, d, e, f, n, ...) n
#define PIGEON_IDS_1(a)         PIGEON_FIRST_(a) "\0"
#define PIGEON_IDS_2(a, ...)    PIGEON_IDS_1(a) PIGEON_IDS_1(__VA_ARGS__)
#define PIGEON_IDS_3(a, ...)    PIGEON_IDS_1(a) PIGEON_IDS_2(__VA_ARGS__)
#define PIGEON_IDS_4(a, ...)    PIGEON_IDS_1(a) PIGEON_IDS_3(__VA_ARGS__)
#define PIGEON_IDS_5(a, ...)    PIGEON_IDS_1(a) PIGEON_IDS_4(__VA_ARGS__)
#define PIGEON_IDS_6(a, ...)    PIGEON_IDS_1(a) PIGEON_IDS_5(__VA_ARGS__)
#define PIGEON_ROWS_1(a)        PIGEON_PAIR_(a)
#define PIGEON_ROWS_2(a, ...)   PIGEON_PAIR_(a), PIGEON_ROWS_1(__VA_ARGS__)
#define PIGEON_ROWS_3(a, ...)   PIGEON_PAIR_(a), PIGEON_ROWS_2(__VA_ARGS__)
#define PIGEON_ROWS_4(a, ...)   PIGEON_PAIR_(a), PIGEON_ROWS_3(__VA_ARGS__)
#define PIGEON_ROWS_5(a, ...)   PIGEON_PAIR_(a), PIGEON_ROWS_4(__VA_ARGS__)
#define PIGEON_ROWS_6(a, ...)   PIGEON_PAIR_(a), PIGEON_ROWS_5(__VA_ARGS__)
#define PIGEON_IDS_(...)        PIGEON_CAT2_(PIGEON_IDS_, PIGEON_NARGS_(__VA_ARGS__))(__VA_ARGS__)
#define PIGEON_ROWS_(...)       PIGEON_CAT2_(PIGEON_ROWS_, PIGEON_NARGS_(__VA_ARGS__))(__VA_ARGS__)

/* C++17 compilers know designated initialisers, clang says that they are C++20's. */
#if defined(__clang__) && defined(__cplusplus)
#define PIGEON_QUIET_                                                                              \
    _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wc++20-designator\"")      \
        _Pragma("clang diagnostic ignored \"-Wc99-designator\"")
#define PIGEON_LOUD_ _Pragma("clang diagnostic pop")
#else
#define PIGEON_QUIET_
#define PIGEON_LOUD_
#endif

#define PIGEON_PLUGIN(id_, version_, summary_, license_, flags_, provides_, ...)                    \
    PIGEON_NOTE_(id_ "\0" version_ "\0" summary_ "\0" license_ "\0" PIGEON_IDS_ provides_, flags_,  \
                 PIGEON_NARGS_ provides_);                                                          \
    static const pigeon_iface pigeon_provides_[] = { PIGEON_ROWS_ provides_ };                      \
    PIGEON_QUIET_ const pigeon_plugin pigeon_plugin_v1 = { .magic = PIGEON_MAGIC,                   \
                                                           .size = (uint32_t)sizeof(pigeon_plugin), \
                                                           .abi_major = PIGEON_ABI_MAJOR,           \
                                                           .abi_minor = PIGEON_ABI_MINOR,           \
                                                           .need_minor = PIGEON_NEED_MINOR,         \
                                                           .rsv = 0,                                \
                                                           .flags = (flags_),                       \
                                                           .rsv2 = 0,                               \
                                                           .id = id_,                               \
                                                           .version = version_,                     \
                                                           .summary = summary_,                     \
                                                           .license = license_,                     \
                                                           .provides = pigeon_provides_,            \
                                                           .nprovides = PIGEON_COUNT(pigeon_provides_),\
                                                           .rsv3 = 0,                               \
                                                           __VA_ARGS__ } PIGEON_LOUD_

#define PIGEON_NOTE_(text_, flags_, nprovides_)                                                     \
    __attribute__((used, section(".note.pigeon"), aligned(4))) static const struct pigeon_note_ {                                                                     \
        uint32_t        namesz, descsz, type;                                                       \
        char            owner[8];                                                                   \
        pigeon_manifest manifest;                                                                   \
        char            text[(sizeof(text_) + 3u) & ~(size_t)3u];                                   \
    } pigeon_note_ = { 7u,                                                                          \
                       (uint32_t)(sizeof(pigeon_manifest) + ((sizeof(text_) + 3u) & ~(size_t)3u)),  \
                       PIGEON_NOTE_TYPE,                                                            \
                       "Pigeon",                                                                    \
                       { PIGEON_MAGIC, PIGEON_ABI_MAJOR, PIGEON_ABI_MINOR, PIGEON_NEED_MINOR,       \
                         nprovides_, (flags_) },                                                    \
                       text_ }

#endif
