/* plugin_file.h - a plugin file, judged without running any code of it.
 *
 * Reads the ELF note that PIGEON_PLUGIN wrote, and says whether the file may be mapped: who owns it
 * and every directory above it, what the loader would do with it, which ABI it was built for (F1-F3
 * of the plugin ABI). */
#pragma once
#include <pigeon/plugin.h>
#include <stdbool.h>
#include <sys/types.h>

#define PLUGIN_FILE_MAX_IFACES 64

struct plugin_file {
    char *path; /* resolved: no symbolic link in it */
    char *base; /* file name as found */
    dev_t dev;
    ino_t ino;
    bool has_note;
    pigeon_manifest manifest;
    char *text; /* of the manifest; all below point into it */
    const char *id, *version, *summary, *license;
    const char *ifaces[PLUGIN_FILE_MAX_IFACES];
    uint32_t n_ifaces;
    char *warning; /* of what it depends on; NULL: none */
};

enum { PLUGIN_FILE_FOREIGN = 1 };

/* 0: may be loaded. PLUGIN_FILE_FOREIGN: not a plugin of Pigeon (no ELF file, or no note), `reason`
 * says what it is. -EINVAL: refused, with the reason; what is known of the manifest is filled in.
 * -ENOMEM. */
int plugin_file_judge(const char *path, struct plugin_file *r_file, char *reason, size_t size);
void plugin_file_fini(struct plugin_file *file);
/* The name a file gives to its plugin: base name without ".so" and a leading "NN-". On the heap,
 * NULL: no memory. */
char *plugin_file_name(const char *path);
bool plugin_file_provides(const struct plugin_file *file, const char *id);
