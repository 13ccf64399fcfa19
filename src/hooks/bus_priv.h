/* bus_priv.h - the door to the bus as the loader of plugins sees it; for the files of hooks/ only.
 */
#pragma once
#include "hooks/bus.h"
#include "hooks/plugin.h"

/* For the plugin that `bus:` names. 0, -ENOMEM, -EINVAL (a table without open, send or more). */
int bus_door_new(struct hooks *hooks, struct plugin *plugin, struct bus_door **r_door);
/* Its instance was destroyed and all mail has been run. */
void bus_door_free(struct bus_door **door);

/* The plugin's name in the configuration. */
const char *bus_door_plugin(const struct bus_door *door);

/* What host->get(PIGEON_IF_BUS_HOST) gives. */
extern const pigeon_bus_host bus_host_table;
