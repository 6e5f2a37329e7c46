#include "discovery/announce.h"

#include "storage/crc32c.h"

#include <assert.h>

#define ANNOUNCE_MAGIC          0x444e564bu /* "KVND" on the wire */
#define ANNOUNCE_VERSION_NUMBER 3
#define CRC_SIZE                4

/* An ANNOUNCE_NEW is padded to the longest announcement there is, so that its answer is never longer than
 * what was asked with, whatever address a request claims to come from (bug 44). */
#define ANNOUNCE_NEW_SIZE (4 + 1 + 1 + NODE_INFO_SIZE_MAX + CRC_SIZE)
_Static_assert(ANNOUNCE_NEW_SIZE <= ANNOUNCE_SIZE_MAX, "an announcement fits its datagram");

void announce_encode(struct buffer *out, const struct announce *announce) {
    size_t start = buffer_size(out);
    write_u32(out, ANNOUNCE_MAGIC);
    write_u8(out, ANNOUNCE_VERSION_NUMBER);
    write_u8(out, (uint8_t)announce->kind);
    node_info_write(out, &announce->info);
    if (announce->kind == ANNOUNCE_NEW)
        while (buffer_size(out) - start < ANNOUNCE_NEW_SIZE - CRC_SIZE)
            write_u8(out, 0);
    struct bytes content = buffer_bytes(out);
    content = (struct bytes){content.data + start, content.size - start};
    write_u32(out, crc32c(0, content));
    assert(buffer_size(out) - start <= ANNOUNCE_NEW_SIZE);
}

static bool is_padding(struct bytes rest) {
    for (size_t i = 0; i < rest.size; i++)
        if (rest.data[i] != 0)
            return false;
    return true;
}

enum announce_result announce_decode(struct bytes datagram, struct announce *out) {
    if (datagram.size > ANNOUNCE_SIZE_MAX)
        return ANNOUNCE_OVERSIZED;
    struct reader r = reader_of(datagram);
    uint32_t magic = read_u32(&r);
    uint8_t version = read_u8(&r);
    if (!reader_ok(&r) || magic != ANNOUNCE_MAGIC)
        return ANNOUNCE_GARBAGE;
    if (version != ANNOUNCE_VERSION_NUMBER)
        return ANNOUNCE_VERSION;
    if (reader_left(&r) < CRC_SIZE)
        return ANNOUNCE_CORRUPT;
    struct bytes content = {datagram.data, datagram.size - CRC_SIZE};
    if (get_u32(datagram.data + content.size) != crc32c(0, content))
        return ANNOUNCE_CORRUPT;
    r.end -= CRC_SIZE;
    struct announce announce = {0};
    uint8_t kind = read_u8(&r);
    if (kind > ANNOUNCE_LEAVE || !node_info_read(&r, &announce.info))
        return ANNOUNCE_CORRUPT;
    announce.kind = (enum announce_kind)kind;
    bool padded = kind == ANNOUNCE_NEW;
    if (padded ? datagram.size != ANNOUNCE_NEW_SIZE || !is_padding(read_rest(&r)) : !reader_done(&r))
        return ANNOUNCE_CORRUPT;
    *out = announce;
    return ANNOUNCE_OK;
}
