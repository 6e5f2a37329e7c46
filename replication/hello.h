/* The first bytes on a connection between nodes, one hello each way.
 *
 *     magic u32 | version u16 | size u16 | content, size bytes | crc32c u32 of everything before it
 *     content: lane u8 | flags u8 (1: keeps nothing on disk) | uptime_ms u64 | node_info
 *
 * Magic, version and size keep their place in every version of the protocol, so that a refusal for the
 * version can be told. */
#ifndef REPLICATION_HELLO_H
#define REPLICATION_HELLO_H

#include "replication/peers.h"

#define HELLO_SIZE_MAX (4 + 2 + 2 + 1 + 1 + 8 + NODE_INFO_SIZE_MAX + 4)

struct hello {
    enum peers_lane lane; /* as the dialler says; an accepting end does not know it yet and says main */
    bool volatile_;
    uint64_t
        uptime_ms; /* since the sender's start: of two processes with one id the one that runs longer stays */
    struct node_info info;
};

enum hello_result { HELLO_DONE, HELLO_MORE, HELLO_BAD, HELLO_VERSION };

void hello_write(struct buffer *out, const struct hello *hello);
/* HELLO_DONE sets *used. HELLO_VERSION: somebody of ours, of another version. */
enum hello_result hello_parse(struct bytes in, struct hello *out, size_t *used);

#endif
