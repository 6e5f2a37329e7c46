/* What stands in front of a request (request.h) that travels to another group: FRAME_ROUTED.
 *
 * It names the ring that the sender went by. A node whose log knows another one answers ERROR_NOT_LEADER,
 * surely without effect, and the sender looks again. */
#ifndef API_ROUTED_H
#define API_ROUTED_H

#include "storage/wire.h"

struct routed {
    uint32_t group; /* that owns the key */
    uint64_t ring_id, epoch;
};

void routed_encode(struct buffer *out, const struct routed *routed);
/* *request borrows from the payload. */
bool routed_decode(struct bytes payload, struct routed *out, struct bytes *request);

#endif
