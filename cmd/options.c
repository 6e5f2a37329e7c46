#include "cmd/options.h"

#include <bsd/stdlib.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>

#include "discovery/resolver_io.h"

#define DEFAULT_PORT 8000

const char options_help[] =
    "Usage: kvnode [flags]\n"
    "\n"
    "One node of a replicated key-value store. Start several; they find each other.\n"
    "\n"
    "  -port N            cluster TCP port (8000)\n"
    "  -api N             HTTP port (9000)\n"
    "  -group N           replication group (0)\n"
    "  -leader            found the group, unless it already exists\n"
    "  -bind IP           address that everything uses (127.0.0.1)\n"
    "  -advertise IP      address that others are told (the bind address)\n"
    "  -allow-host NAMES  further names allowed in a request's Host, comma-separated\n"
    "  -data DIR          data directory (kvdata/<port>, or kvdata/<bind>_<port>)\n"
    "  -memory            nothing on disk\n"
    "  -id ID             node id, 16 of [A-Za-z0-9_-] (made once, kept in the data directory)\n"
    "  -cluster NAME      cluster name (kvnode)\n"
    "  -discovery-port N  UDP port of discovery (7946)\n"
    "  -peers LIST        host:port,... to dial where broadcast does not reach\n"
    "  -no-broadcast      -peers only\n"
    "  -ack MODE          when a write is answered: async (the leader has it on disk), quorum (a\n"
    "                     majority has), all (every voter has); the founder's setting holds (async)\n"
    "  -route HOW         a follower that gets a write: proxy (passes it on), redirect (307), refuse\n"
    "                     (421, naming the leader) (proxy)\n"
    "  -voters N          most voters of the group, 1 to 9; the founder's setting holds (5)\n"
    "  -fsync WHEN        always, a time such as 100ms, or never (always)\n"
    "  -log-level LEVEL   debug, info, notice, warning or error (info)\n"
    "                     SIGUSR1 makes it one step more verbose while the node runs, SIGUSR2 one less\n"
    "  -log-format FORMAT text or json, to standard error (text)\n"
    "  -slow-ms N         log requests that take longer, with where the time went; 0: none (200)\n"
    "  -version, -help\n"
    "\n"
    "Then:\n"
    "  curl -X POST localhost:9000/set -H 'Content-Type: application/json' -d "
    "'{\"key\":\"k\",\"value\":\"v\"}'\n"
    "  curl 'localhost:9000/get?key=k'\n";

struct problem {
    char *why;
    size_t size;
};

static bool number(const char *value, long long low, long long high, long long *out, struct problem *p,
                   const char *name) {
    const char *error = NULL;
    *out = strtonum(value, low, high, &error);
    /* strtonum takes leading spaces and a sign. */
    if (error == NULL && isdigit((unsigned char)value[0]))
        return true;
    snprintf(p->why, p->size, "-%s requires a number from %lld to %lld, not '%s'", name, low, high, value);
    return false;
}

static bool set_port(struct options *o, const char *value, struct problem *p, const char *name) {
    long long port;
    if (!number(value, 1, 65535, &port, p, name))
        return false;
    uint16_t *to = strcmp(name, "port") == 0  ? &o->port
                   : strcmp(name, "api") == 0 ? &o->api
                                              : &o->discovery_port;
    *to = (uint16_t)port;
    return true;
}

static bool set_group(struct options *o, const char *value, struct problem *p, const char *name) {
    long long group;
    if (!number(value, 0, UINT32_MAX, &group, p, name))
        return false;
    o->group = (uint32_t)group;
    return true;
}

static bool set_voters(struct options *o, const char *value, struct problem *p, const char *name) {
    long long voters;
    if (!number(value, 1, VOTERS_MAX, &voters, p, name))
        return false;
    o->voters = (uint8_t)voters;
    o->voters_given = true;
    return true;
}

static bool set_slow(struct options *o, const char *value, struct problem *p, const char *name) {
    long long slow;
    if (!number(value, 0, 60000, &slow, p, name))
        return false;
    o->slow_ms = (uint32_t)slow;
    return true;
}

/* One of a list of words. */
static bool word(const char *value, const char *const *words, int *out, struct problem *p, const char *name) {
    char list[128] = "";
    size_t size = 0;
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = i;
            return true;
        }
        size += (size_t)snprintf(list + size, sizeof list - size, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    snprintf(p->why, p->size, "-%s requires one of %s, not '%s'", name, list, value);
    return false;
}

static bool set_ack(struct options *o, const char *value, struct problem *p, const char *name) {
    static const char *const words[] = {"async", "quorum", "all", NULL};
    int choice;
    if (!word(value, words, &choice, p, name))
        return false;
    o->ack = choice;
    o->ack_given = true;
    return true;
}

static bool set_route(struct options *o, const char *value, struct problem *p, const char *name) {
    static const char *const words[] = {"proxy", "redirect", "refuse", NULL};
    int choice;
    if (!word(value, words, &choice, p, name))
        return false;
    o->route = choice;
    return true;
}

static bool set_level(struct options *o, const char *value, struct problem *p, const char *name) {
    static const char *const words[] = {"debug", "info", "notice", "warning", "error", NULL};
    int choice;
    if (!word(value, words, &choice, p, name))
        return false;
    o->log_level = choice;
    return true;
}

static bool set_format(struct options *o, const char *value, struct problem *p, const char *name) {
    static const char *const words[] = {"text", "json", NULL};
    int choice;
    if (!word(value, words, &choice, p, name))
        return false;
    o->log_format = choice;
    return true;
}

static bool set_fsync(struct options *o, const char *value, struct problem *p, const char *name) {
    o->sync_given = true;
    if (strcmp(value, "always") == 0 || strcmp(value, "never") == 0) {
        o->sync = value[0] == 'a' ? SYNC_ALWAYS : SYNC_NEVER;
        return true;
    }
    char digits[16];
    size_t size = strspn(value, "0123456789");
    const char *unit = value + size;
    uint32_t scale = strcmp(unit, "ms") == 0 ? 1 : strcmp(unit, "s") == 0 ? 1000 : 0;
    const char *error = "none";
    if (scale > 0 && size > 0 && size < sizeof digits) {
        memcpy(digits, value, size);
        digits[size] = '\0';
        o->sync = SYNC_INTERVAL;
        o->sync_interval_ms = scale * (uint32_t)strtonum(digits, 1, 60000 / scale, &error);
    }
    if (error == NULL)
        return true;
    snprintf(p->why, p->size, "-%s requires always, never, or a time from 1ms to 60s, not '%s'", name, value);
    return false;
}

static bool set_text(struct options *o, const char *value, struct problem *p, const char *name) {
    if (value[0] == '\0') {
        snprintf(p->why, p->size, "-%s is empty", name);
        return false;
    }
    const char **to = strcmp(name, "bind") == 0        ? &o->bind
                      : strcmp(name, "advertise") == 0 ? &o->advertise
                                                       : &o->data;
    *to = value;
    return true;
}

static bool set_cluster(struct options *o, const char *value, struct problem *p, const char *name) {
    if (!cluster_name_valid(bytes_of(value))) {
        snprintf(p->why, p->size, "-%s requires 1 to %d printable ASCII characters", name, CLUSTER_NAME_MAX);
        return false;
    }
    o->cluster = value;
    return true;
}

static bool set_id(struct options *o, const char *value, struct problem *p, const char *name) {
    if (!node_id_valid(bytes_of(value))) {
        snprintf(p->why, p->size, "-%s requires %d of [A-Za-z0-9_-], not '%s'", name, NODE_ID_SIZE, value);
        return false;
    }
    memcpy(o->id, value, NODE_ID_SIZE);
    o->id_given = true;
    return true;
}

/* Splits at commas into `out`, whose last place stays NULL. */
static bool split(struct options *o, const char *value, const char **out, size_t max, struct problem *p,
                  const char *name) {
    size_t count = 0, size = strlen(value) + 1;
    while (count < max && out[count] != NULL)
        count++;
    if (size > sizeof o->text - o->text_size) {
        snprintf(p->why, p->size, "-%s is too long", name);
        return false;
    }
    char *at = o->text + o->text_size;
    memcpy(at, value, size);
    o->text_size += size;
    for (char *item; (item = strsep(&at, ",")) != NULL; count++) {
        if (item[0] == '\0' || count == max) {
            snprintf(p->why, p->size, "-%s has %s", name,
                     count == max ? "too many entries" : "an empty entry");
            return false;
        }
        out[count] = item;
    }
    return true;
}

static bool set_peers(struct options *o, const char *value, struct problem *p, const char *name) {
    if (!split(o, value, o->peers, PEER_NAMES_MAX, p, name))
        return false;
    for (size_t i = 0; o->peers[i] != NULL; i++)
        if (!resolver_name_valid(o->peers[i])) {
            snprintf(p->why, p->size, "-%s requires host:port,... with cluster ports, not '%s'", name,
                     o->peers[i]);
            return false;
        }
    return true;
}

static bool set_hosts(struct options *o, const char *value, struct problem *p, const char *name) {
    size_t from = o->text_size;
    if (!split(o, value, o->allow_hosts, HOST_NAMES_MAX, p, name))
        return false;
    for (size_t i = from; i < o->text_size; i++)
        o->text[i] = (char)tolower((unsigned char)o->text[i]);
    return true;
}

static bool set_switch(struct options *o, const char *value, struct problem *p, const char *name) {
    (void)value;
    (void)p;
    const struct {
        const char *name;
        bool *to;
    } switches[] = {
        {"leader", &o->leader}, {"memory", &o->memory},   {"no-broadcast", &o->no_broadcast},
        {"help", &o->help},     {"version", &o->version},
    };
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
        if (strcmp(name, switches[i].name) == 0)
            *switches[i].to = true;
    return true;
}

static const struct flag {
    const char *name;
    bool (*set)(struct options *o, const char *value, struct problem *p, const char *name);
    bool is_switch;
} flags[] = {
    {"port", set_port, false},
    {"api", set_port, false},
    {"discovery-port", set_port, false},
    {"group", set_group, false},
    {"leader", set_switch, true},
    {"bind", set_text, false},
    {"advertise", set_text, false},
    {"allow-host", set_hosts, false},
    {"data", set_text, false},
    {"memory", set_switch, true},
    {"id", set_id, false},
    {"cluster", set_cluster, false},
    {"peers", set_peers, false},
    {"no-broadcast", set_switch, true},
    {"ack", set_ack, false},
    {"route", set_route, false},
    {"voters", set_voters, false},
    {"fsync", set_fsync, false},
    {"log-level", set_level, false},
    {"log-format", set_format, false},
    {"slow-ms", set_slow, false},
    {"version", set_switch, true},
    {"help", set_switch, true},
};

#define FLAGS (sizeof flags / sizeof flags[0])

/* The flag that `text`, without its dashes, names; *value is what follows '=', or NULL. */
static const struct flag *find(const char *text, const char **value) {
    size_t size = strcspn(text, "=");
    *value = text[size] == '=' ? text + size + 1 : NULL;
    for (size_t i = 0; i < FLAGS; i++)
        if (strlen(flags[i].name) == size && memcmp(flags[i].name, text, size) == 0)
            return &flags[i];
    return NULL;
}

static bool parse_addresses(struct options *o, struct problem *p) {
    const char *advertise = o->advertise != NULL ? o->advertise : o->bind;
    if (!address_parse_ip(o->bind, 0, &o->bind_address)) {
        snprintf(p->why, p->size, "-bind requires an IP address, not '%s'", o->bind);
        return false;
    }
    if (!address_parse_ip(advertise, 0, &o->advertise_address)) {
        snprintf(p->why, p->size, "-advertise requires an IP address, not '%s'", advertise);
        return false;
    }
    if (address_is_wildcard(&o->advertise_address)) {
        snprintf(p->why, p->size,
                 o->advertise != NULL ? "-advertise cannot be the wildcard '%s'"
                                      : "-bind %s requires -advertise IP: others cannot dial a wildcard",
                 advertise);
        return false;
    }
    return true;
}

static bool check(struct options *o, struct problem *p) {
    if (!parse_addresses(o, p))
        return false;
    if (o->port == o->api) {
        snprintf(p->why, p->size, "-port and -api are both %u: give them different ports", o->port);
        return false;
    }
    if (o->memory && (o->data != NULL || o->sync_given)) {
        snprintf(p->why, p->size, "-memory keeps nothing on disk: leave %s out",
                 o->data != NULL ? "-data" : "-fsync");
        return false;
    }
    if (o->no_broadcast && o->peers[0] == NULL && !o->leader) {
        snprintf(p->why, p->size,
                 "-no-broadcast without -peers finds nobody: name a node with -peers host:port");
        return false;
    }
    if (strcmp(o->bind, "127.0.0.1") == 0)
        snprintf(o->default_data, sizeof o->default_data, "kvdata/%u", o->port);
    else
        snprintf(o->default_data, sizeof o->default_data, "kvdata/%s_%u", o->bind, o->port);
    if (o->data == NULL)
        o->data = o->default_data;
    return true;
}

bool options_parse(struct options *o, int argc, char *const argv[], char *why, size_t why_size) {
    struct problem problem = {why, why_size};
    bool given[FLAGS] = {false};
    *o = (struct options){
        .port = DEFAULT_PORT,
        .api = 9000,
        .discovery_port = 7946,
        .bind = "127.0.0.1",
        .cluster = "kvnode",
        .voters = 5,
        .log_level = NODE_INFO,
        .slow_ms = 200,
    };
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i], *value;
        if (text[0] != '-' || text[1] == '\0') {
            snprintf(why, why_size, "'%s' is no flag: flags begin with '-'; see kvnode -help", text);
            return false;
        }
        const struct flag *flag = find(text + (text[1] == '-' ? 2 : 1), &value);
        if (flag == NULL) {
            snprintf(why, why_size, "no such flag: %s; see kvnode -help", text);
            return false;
        }
        if (given[flag - flags]) {
            snprintf(why, why_size, "-%s is given twice", flag->name);
            return false;
        }
        given[flag - flags] = true;
        if (flag->is_switch && value != NULL) {
            snprintf(why, why_size, "-%s takes no value", flag->name);
            return false;
        }
        if (!flag->is_switch && value == NULL && (value = argv[++i]) == NULL) {
            snprintf(why, why_size, "-%s requires a value; see kvnode -help", flag->name);
            return false;
        }
        if (!flag->set(o, value, &problem, flag->name))
            return false;
    }
    return o->help || o->version || check(o, &problem);
}
