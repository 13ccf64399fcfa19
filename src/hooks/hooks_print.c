#include "hooks/bus_priv.h"
#include "hooks/chain.h"
#include "hooks/plugin.h"
#include <errno.h>
#include <stdlib.h>

static const char *state_name(enum found_state state)
{
    switch (state) {
    case FOUND_TAKEN: return "taken";
    case FOUND_AVAILABLE: return "available";
    case FOUND_DISABLED: return "disabled";
    case FOUND_FOREIGN: return "ignored";
    default: return "refused";
    }
}

static const char *instances_name(uint32_t flags, bool has_workers)
{
    if (flags & PIGEON_F_SINGLE)
        return "one instance";
    if (flags & PIGEON_F_SHARED)
        return "one shared instance";
    return has_workers ? "one instance per worker" : "one instance per loop";
}

static void print_found(const struct found *f, FILE *out)
{
    fprintf(out, "  %s: %s", f->name, state_name(f->state));
    if (f->fault)
        fprintf(out, " (%s)", f->fault);
    if (f->note)
        fprintf(out, " (deprecated: %s)", f->note);
    if (f->file.id) {
        bool has_workers = f->block && f->block->run == CONFIG_WORKER;

        fprintf(out, ", %s %s, %s, %s", f->file.id, f->file.version, f->file.license,
                instances_name(f->file.manifest.flags, has_workers));
        if (has_workers)
            fprintf(out, ", worker x%lld", (long long)f->block->workers);
        for (uint32_t i = 0; i < f->file.n_ifaces; i++)
            fprintf(out, "%s%s", i ? " " : ", ", f->file.ifaces[i]);
    }
    fprintf(out, ", %s\n", f->file.path ? f->file.path : "?");
}

static void print_files(const struct hooks *hooks, FILE *out)
{
    fputs("plugins:\n", out);
    for (uint32_t i = 0; i < hooks->n_found; i++)
        print_found(&hooks->found[i], out);
    if (hooks->n_found == 0)
        fputs("  none\n", out);
}

void hooks_print(const struct hooks *hooks, FILE *out)
{
    print_files(hooks, out);
    if (hooks->bus)
        fprintf(out, "bus: %s\n", bus_door_plugin(hooks->bus));
    if (hooks->chains)
        chains_print(hooks->chains, out);
}

int hooks_survey(const struct config *config, FILE *out)
{
    struct hooks *hooks = calloc(1, sizeof(*hooks));
    uint32_t faults = 0;

    if (!hooks)
        return -ENOMEM;
    hooks->config = (struct config *)config;
    int r = hooks_find_files(hooks, &faults);
    if (r == 0)
        print_files(hooks, out);
    hooks_forget_files(hooks);
    free(hooks);
    return r;
}
