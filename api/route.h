/* What stands in front of a request (request.h) that travels to another group: FRAME_ROUTED.
 *
 * It names the ring that the sender went by. A node whose log knows another one answers ERROR_NOT_LEADER,
 * surely without effect, and the sender looks again. */
#ifndef API_ROUTE_H
#define API_ROUTE_H

#include "storage/wire.h"

struct route {
    uint32_t group; /* that owns the key */
    uint64_t ring_id, epoch;
};

void route_encode(struct buffer *out, const struct route *route);
/* *request borrows from the payload. */
bool route_decode(struct bytes payload, struct route *out, struct bytes *request);

#endif
