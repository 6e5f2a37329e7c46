/* Frames on a connection between nodes: size, type, payload, checksum.
 *
 *     size u32 | type u8 | payload, size bytes | crc32c u32 of everything before it
 *
 * Parsed in place: nothing is copied or allocated, and the size is checked before the rest is waited for. */
#ifndef REPLICATION_FRAME_H
#define REPLICATION_FRAME_H

#include "storage/bytes.h"

#define FRAME_HEAD_SIZE 5
#define FRAME_TAIL_SIZE 4
#define FRAME_OVERHEAD  (FRAME_HEAD_SIZE + FRAME_TAIL_SIZE)

enum frame_result { FRAME_DONE, FRAME_MORE, FRAME_BAD };

/* FRAME_DONE: the first payload.size + FRAME_OVERHEAD bytes of in were a frame; payload borrows from in. */
enum frame_result frame_parse(struct bytes in, size_t payload_max, uint8_t *type, struct bytes *payload);
/* What goes before and after a payload. */
void frame_wrap(uint8_t type, struct bytes payload, uint8_t head[FRAME_HEAD_SIZE],
                uint8_t tail[FRAME_TAIL_SIZE]);

#endif
