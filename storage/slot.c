#include "storage/slot.h"

#include <endian.h>

#include "storage/bit_table.h"

/* Table k holds the checksum of a byte followed by k zero bytes: eight bytes are taken at a time. */
static const uint16_t table[8][256] = {
    {TABLE(0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188)},
    {TABLE(0x3331, 0x6662, 0xccc4, 0x89a9, 0x0373, 0x06e6, 0x0dcc, 0x1b98)},
    {TABLE(0x3730, 0x6e60, 0xdcc0, 0xa9a1, 0x4363, 0x86c6, 0x1dad, 0x3b5a)},
    {TABLE(0x76b4, 0xed68, 0xcaf1, 0x85c3, 0x1ba7, 0x374e, 0x6e9c, 0xdd38)},
    {TABLE(0xaa51, 0x4483, 0x8906, 0x022d, 0x045a, 0x08b4, 0x1168, 0x22d0)},
    {TABLE(0x45a0, 0x8b40, 0x06a1, 0x0d42, 0x1a84, 0x3508, 0x6a10, 0xd420)},
    {TABLE(0xb861, 0x60e3, 0xc1c6, 0x93ad, 0x377b, 0x6ef6, 0xddec, 0xabf9)},
    {TABLE(0x47d3, 0x8fa6, 0x0f6d, 0x1eda, 0x3db4, 0x7b68, 0xf6d0, 0xfd81)},
};

uint16_t slot_crc16(struct bytes bytes) {
    const uint8_t *at = bytes.data;
    size_t size = bytes.size;
    uint32_t crc = 0;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word = be64toh(word) ^ (uint64_t)crc << 48;
        crc = 0;
        for (unsigned i = 0; i < 8; i++)
            crc ^= table[i][word >> 8 * i & 0xff];
    }
    for (; size > 0; at++, size--)
        crc = (crc << 8 & 0xffff) ^ table[0][crc >> 8 ^ *at];
    return (uint16_t)crc;
}

static struct bytes hash_tag(struct bytes key) {
    const uint8_t *open = memchr(key.data, '{', key.size);
    if (open == NULL)
        return key;
    const uint8_t *from = open + 1, *end = key.data + key.size;
    const uint8_t *close = memchr(from, '}', (size_t)(end - from));
    if (close == NULL || close == from)
        return key;
    return (struct bytes){from, (size_t)(close - from)};
}

uint32_t slot_of(struct bytes key) {
    return slot_crc16(hash_tag(key)) % SLOT_COUNT;
}
