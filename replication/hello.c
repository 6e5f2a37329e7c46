#include "replication/hello.h"

#include "storage/crc32c.h"

#include <assert.h>

#define HELLO_MAGIC   0x504e564bu /* "KVNP" on the wire */
#define HEAD_SIZE     8
#define CRC_SIZE      4
#define FLAG_VOLATILE 1

void hello_write(struct buffer *out, const struct hello *hello) {
    struct buffer content = {0};
    write_u8(&content, (uint8_t)hello->lane);
    write_u8(&content, hello->volatile_ ? FLAG_VOLATILE : 0);
    write_u64(&content, hello->uptime_ms);
    node_info_write(&content, &hello->info);
    size_t start = buffer_size(out);
    write_u32(out, HELLO_MAGIC);
    write_u16(out, PEERS_PROTOCOL_VERSION);
    write_bytes16(out, buffer_bytes(&content));
    buffer_release(&content);
    struct bytes all = buffer_bytes(out);
    write_u32(out, crc32c(0, (struct bytes){all.data + start, all.size - start}));
    assert(buffer_size(out) - start <= HELLO_SIZE_MAX);
}

static bool read_content(struct bytes content, struct hello *out) {
    struct reader r = reader_of(content);
    struct hello hello = {0};
    uint8_t lane = read_u8(&r), flags = read_u8(&r);
    hello.uptime_ms = read_u64(&r);
    if (!node_info_read(&r, &hello.info) || !reader_done(&r) || lane > PEERS_BULK || flags > FLAG_VOLATILE)
        return false;
    hello.lane = (enum peers_lane)lane;
    hello.volatile_ = flags == FLAG_VOLATILE;
    *out = hello;
    return true;
}

enum hello_result hello_parse(struct bytes in, struct hello *out, size_t *used) {
    uint8_t magic[4];
    put_u32(magic, HELLO_MAGIC);
    if (in.size == 0)
        return HELLO_MORE;
    if (memcmp(in.data, magic, in.size < sizeof magic ? in.size : sizeof magic) != 0)
        return HELLO_BAD;
    if (in.size < HEAD_SIZE)
        return HELLO_MORE;
    struct reader r = reader_of(in);
    read_u32(&r);
    uint16_t version = read_u16(&r), size = read_u16(&r);
    if (version != PEERS_PROTOCOL_VERSION)
        return HELLO_VERSION;
    size_t total = HEAD_SIZE + (size_t)size + CRC_SIZE;
    if (total > HELLO_SIZE_MAX)
        return HELLO_BAD;
    if (in.size < total)
        return HELLO_MORE;
    struct bytes covered = {in.data, total - CRC_SIZE};
    if (get_u32(in.data + covered.size) != crc32c(0, covered))
        return HELLO_BAD;
    if (!read_content((struct bytes){in.data + HEAD_SIZE, size}, out))
        return HELLO_BAD;
    *used = total;
    return HELLO_DONE;
}
