#include "config/config.h"
#include "config/tables.h"
#include <errno.h>
#include <inttypes.h>

static const char intro[] =
    "# Configuration\n"
    "\n"
    "This page is generated from the tables the parser itself uses (`gen-config-doc`); do not edit "
    "it.\n"
    "\n"
    "`pigeond -c FILE` reads YAML (JSON is YAML, too). Without `-c` it listens on loopback only, "
    "lets\nanybody in there, and keeps everything in memory. `pigeond -t -c FILE` tests a "
    "configuration and\nshows every error of all files at once:\n"
    "\n"
    "```\n"
    "pigeon.yaml:3:5: error: unknown key 'prot' in a listener; did you mean 'port'?\n"
    "      - prot: 1883\n"
    "        ^~~~\n"
    "```\n"
    "\n"
    "An example:\n"
    "\n"
    "```yaml\n"
    "persistence: sqlite\n"
    "state_dir: /var/lib/pigeon\n"
    "durability: { default: disk, filters: { \"telemetry/#\": os } }\n"
    "listeners:\n"
    "  - { port: 1883, bind: \"*\" }\n"
    "  - { port: 9001, protocol: websocket }        # loopback: no `bind`\n"
    "plugins:\n"
    "  ipban: { file: ipban.so }\n"
    "  ldap:  { run: worker, workers: 4, deadline: 3s, on_deadline: deny,\n"
    "           options: { uri: \"ldaps://dc.example\", bind_password: !file ldap.pw } }\n"
    "chains:\n"
    "  authenticate: [ { veto: ipban }, ldap ]\n"
    "include: conf.d/*.yaml\n"
    "```\n"
    "\n"
    "Any option can be overridden on the command line: `-o limits.packet_size=1M`, "
    "`-o listeners.0.port=1884`,\n`-o plugins.ldap.options.uri=ldap://localhost`. The value is "
    "YAML; it replaces what the files say. Relative\nfile names are relative to the file that "
    "contains them, on the command line to the current directory.\n"
    "\n"
    "## Values\n"
    "\n"
    "| type | written as |\n"
    "|---|---|\n"
    "| bool | `true` or `false` |\n"
    "| int | a whole number |\n"
    "| size | bytes: `4096`, `256k`, `10M`, `1G` (powers of 1024) |\n"
    "| time | with a unit: `1500ms`, `30s`, `5m`, `12h`, `7d`, `2w`, `1h30m` |\n"
    "| time or seconds | the same; a number without unit is seconds |\n"
    "| string, path | text |\n"
    "| secret | text, or `!file PATH`, or `!env NAME`; never printed |\n"
    "| enum | one of the words |\n"
    "| list | `[a, b]`; a single value needs no brackets |\n"
    "| tree | any YAML |\n"
    "\n"
    "*Reload* says whether a change takes effect when the configuration is read again (SIGHUP); "
    "otherwise it needs a\nrestart, and the reload says so.\n";

static const char *type_text(const pigeon_option *o, uint32_t core_flags)
{
    if (core_flags & CORE_SECONDS)
        return "time or seconds";
    if (core_flags & CORE_OCTAL)
        return "octal";
    return value_type_word(o->type);
}

static void write_range(FILE *out, const pigeon_option *o, uint32_t core_flags)
{
    char range[80];
    if (o->type == PIGEON_T_ENUM) {
        for (const char *p = o->allowed; *p;) {
            int len = (int)strcspn(p, "|");
            fprintf(out, "`%.*s`%s", len, p, p[len] ? ", " : "");
            p += len + (p[len] == '|');
        }
        return;
    }
    fputs(value_range(o, core_flags, range, sizeof(range)), out);
    if (core_flags & CORE_AUTO)
        fputs(", or `auto`", out);
}

static void write_table(FILE *out, const struct table *t)
{
    fputs("\n| option | type | default | range | reload | meaning |\n|---|---|---|---|---|---|\n",
          out);
    for (uint32_t i = 0; i < t->n; i++) {
        pigeon_option o = table_row(t, i);
        uint32_t core_flags = table_core_flags(t, i);
        fprintf(out, "| `%s` | %s | ", o.key, type_text(&o, core_flags));
        if (o.preset)
            fprintf(out, "`%s`", o.preset);
        fputs(" | ", out);
        write_range(out, &o, core_flags);
        fprintf(out, " | %s | %s |\n", o.flags & PIGEON_O_RELOAD ? "yes" : "", o.doc);
    }
}

static void write_sections(FILE *out, const struct core_section *sections)
{
    fputs("\n| key | meaning |\n|---|---|\n", out);
    for (; sections->key; sections++)
        fprintf(out, "| `%s` | %s |\n", sections->key, sections->doc);
}

int config_write_doc(FILE *out)
{
    fputs(intro, out);
    fputs("\n## Top level\n", out);
    write_table(out, &core_top);
    write_sections(out, core_sections);
    fputs("\n## `listeners`\n\nEach item is a block. `chains` inside it replaces single chains of "
          "the broker for this listener.\n",
          out);
    write_table(out, &core_listener);
    fputs("\n### `tls`\n\nA block of a listener: it speaks TLS, `protocol: websocket` becomes "
          "`wss`. `certificates: [{ cert: FILE, key: FILE }]` has\nmore for other names of the "
          "server; a client gets the one that is made out to the name it asks for, else the first."
          "\n",
          out);
    write_table(out, &core_tls);
    fputs("\n## `plugins`\n\n`plugins: { NAME: { ... } }`. The plugin's own options stand under "
          "`options`; `pigeon-plugin doc FILE.so`\nprints them, and they are checked like "
          "everything here.\n",
          out);
    write_table(out, &core_plugin);
    fputs("\n## `chains`\n\nEach is a list of plugins, asked in this order. An entry is a name "
          "(it decides: allow and deny are final), `{ require: NAME }`\n(it must allow, then the "
          "next is asked), `{ veto: NAME }` (it can only deny), or `{ decide: NAME }`, the same as "
          "the name alone.\nA chain that is not written has all its plugins in the order of their "
          "file names.\n",
          out);
    write_sections(out, core_chains);
    fputs("\n## `durability`\n\n`filters: { \"telemetry/#\": os }` says it for topics; the first "
          "filter that matches wins.\n",
          out);
    write_table(out, &core_durability);
    fputs("\n## `limits`\n\n0 means no limit where it is in the range and nothing else is said.\n",
          out);
    write_table(out, &core_limits);
    fputs("\n## `log`\n", out);
    write_table(out, &core_log);
    return ferror(out) ? -EIO : 0;
}
