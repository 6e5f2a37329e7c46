/* Two ways to the same number. The processor's instruction takes 3 cycles but a new one can start every
 * cycle, so long data is taken as three blocks side by side, and their results are joined: the checksum of a
 * block followed by n zero bytes is its product with x^8n modulo the polynomial, one carry-less
 * multiplication. */
#include "storage/crc32c.h"

#include <endian.h>

#include "storage/bit_table.h"

/* Table k holds the checksum of a byte followed by k zero bytes. */
static const uint32_t table[8][256] = {
    {TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78)},
    {TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9)},
    {TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743)},
    {TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f)},
    {TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c)},
    {TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6)},
    {TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4)},
    {TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664)},
};

static uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

uint32_t crc32c_tables(uint32_t crc, struct bytes data) {
    const uint8_t *at = data.data;
    size_t size = data.size;
    crc = ~crc;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word = load64(at) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= table[7 - i][word >> 8 * i & 0xff];
    }
    for (; size > 0; at++, size--)
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xff];
    return ~crc;
}

#ifdef __x86_64__
#include <immintrin.h>

#define BLOCK_SIZE       256u        /* bytes of each of the three */
#define SHIFT_ONE_BLOCK  0xb9e02b86u /* x^(8 * 256 - 33), bits reflected */
#define SHIFT_TWO_BLOCKS 0xdd7e3b0cu /* x^(8 * 512 - 33) */

#define HARDWARE __attribute__((target("sse4.2,pclmul")))

HARDWARE static inline uint64_t shifted(uint64_t crc, uint32_t by) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)by), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

HARDWARE static uint32_t crc32c_x86(uint32_t start, const uint8_t *at, size_t size) {
    uint64_t crc = ~start;
    while (size >= 3 * BLOCK_SIZE) {
        uint64_t second = 0, third = 0;
        for (const uint8_t *end = at + BLOCK_SIZE; at < end; at += 8) {
            crc = _mm_crc32_u64(crc, load64(at));
            second = _mm_crc32_u64(second, load64(at + BLOCK_SIZE));
            third = _mm_crc32_u64(third, load64(at + 2 * BLOCK_SIZE));
        }
        crc = shifted(crc & UINT32_MAX, SHIFT_TWO_BLOCKS) ^ shifted(second, SHIFT_ONE_BLOCK) ^ third;
        at += 2 * BLOCK_SIZE;
        size -= 3 * BLOCK_SIZE;
    }
    for (; size >= 8; at += 8, size -= 8)
        crc = _mm_crc32_u64(crc, load64(at));
    uint32_t narrow = (uint32_t)crc;
    for (; size > 0; at++, size--)
        narrow = _mm_crc32_u8(narrow, *at);
    return ~narrow;
}
#endif

uint32_t crc32c(uint32_t crc, struct bytes data) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc32c_x86(crc, data.data, data.size);
#endif
    return crc32c_tables(crc, data);
}
