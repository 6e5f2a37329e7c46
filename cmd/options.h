/* The program's flags: `-flag value`, `-flag=value`, one dash or two. */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include "cmd/node.h"

#define PEER_NAMES_MAX 64 /* entries of -peers */
#define HOST_NAMES_MAX 64 /* entries of -allow-host */

enum log_format { LOG_TEXT, LOG_JSON };

struct options {
    uint16_t port, api, discovery_port;
    uint32_t group;
    bool leader, memory, no_broadcast, ack_given, voters_given, id_given, sync_given, help, version;
    const char *bind;
    const char *advertise; /* NULL: the bind address */
    const char *data;      /* NULL: made from port and bind address */
    uint8_t id[NODE_ID_SIZE];
    const char *cluster;
    enum ack_mode ack;
    enum route_policy route;
    uint8_t voters;
    enum replica_sync sync;
    uint32_t sync_interval_ms;
    enum node_level log_level;
    uint32_t slow_ms;
    enum log_format log_format;
    struct address bind_address, advertise_address; /* port 0 */
    const char *peers[PEER_NAMES_MAX + 1];          /* "host:port", NULL-terminated; borrowed from `text` */
    const char *allow_hosts[HOST_NAMES_MAX + 1];    /* lower case */
    char text[8192];                                /* holds the split lists */
    size_t text_size;
    char default_data[96];
};

/* False with one line, cause and mend, in `why`. argv's strings are borrowed. */
bool options_parse(struct options *o, int argc, char *const argv[], char *why, size_t why_size);
extern const char options_help[];

#endif
