/* The announcement datagram: magic, version, kind, node_info, checksum. replication/PROTOCOL.md draws it.
 *
 * A datagram only hints addresses (bug 44). It fits one unfragmented packet. */
#ifndef DISCOVERY_ANNOUNCE_H
#define DISCOVERY_ANNOUNCE_H

#include "cluster/node_info.h"

#define ANNOUNCE_SIZE_MAX 512 /* bytes; anything longer is dropped */

enum announce_kind {
    ANNOUNCE_HERE,   /* periodic */
    ANNOUNCE_NEW,    /* just started: whoever hears it answers with ANNOUNCE_ANSWER */
    ANNOUNCE_ANSWER, /* to the datagram's source; not answered */
    ANNOUNCE_LEAVE,  /* farewell */
};

/* GARBAGE: not ours at all. VERSION: another version of this format. CORRUPT: damaged, or a field out of
 * bounds. */
enum announce_result {
    ANNOUNCE_OK,
    ANNOUNCE_GARBAGE,
    ANNOUNCE_OVERSIZED,
    ANNOUNCE_VERSION,
    ANNOUNCE_CORRUPT
};

struct announce {
    enum announce_kind kind;
    struct node_info info;
};

void announce_encode(struct buffer *out, const struct announce *announce);
enum announce_result announce_decode(struct bytes datagram, struct announce *out);

#endif
