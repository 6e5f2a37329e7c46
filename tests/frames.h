/* A whole frame as it goes over the wire, for tests that speak as a peer. */
#ifndef TESTS_FRAMES_H
#define TESTS_FRAMES_H

#include "replication/frame.h"
#include "storage/buffer.h"

static inline void write_frame(struct buffer *out, uint8_t type, struct bytes payload) {
    uint8_t head[FRAME_HEAD_SIZE], tail[FRAME_TAIL_SIZE];
    frame_wrap(type, payload, head, tail);
    buffer_append(out, (struct bytes){head, sizeof head});
    buffer_append(out, payload);
    buffer_append(out, (struct bytes){tail, sizeof tail});
}

#endif
