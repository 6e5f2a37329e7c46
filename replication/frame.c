#include "replication/frame.h"

#include "storage/crc32c.h"
#include "storage/wire.h"

#include <assert.h>

enum frame_result frame_parse(struct bytes in, size_t payload_max, uint8_t *type, struct bytes *payload) {
    if (in.size < sizeof(uint32_t))
        return FRAME_MORE;
    size_t size = get_u32(in.data);
    if (size > payload_max)
        return FRAME_BAD;
    if (in.size < size + FRAME_OVERHEAD)
        return FRAME_MORE;
    struct bytes content = {in.data, FRAME_HEAD_SIZE + size};
    if (crc32c(0, content) != get_u32(in.data + content.size))
        return FRAME_BAD;
    *type = in.data[4];
    *payload = (struct bytes){in.data + FRAME_HEAD_SIZE, size};
    return FRAME_DONE;
}

void frame_wrap(uint8_t type, struct bytes payload, uint8_t head[FRAME_HEAD_SIZE],
                uint8_t tail[FRAME_TAIL_SIZE]) {
    assert(payload.size <= UINT32_MAX);
    put_u32(head, (uint32_t)payload.size);
    head[4] = type;
    put_u32(tail, crc32c(crc32c(0, (struct bytes){head, FRAME_HEAD_SIZE}), payload));
}
