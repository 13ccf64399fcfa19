/* reload.h - SIGHUP: reads the whole configuration again; all of it holds from one moment on, or
 * the old one stays and the log says why. Clients stay connected. */
#pragma once

struct server;

/* On loop 0, outside of plugins and connections. Blocks on the disk, and on the name service where
 * `bind` has host names. */
void reload_run(struct server *server);
