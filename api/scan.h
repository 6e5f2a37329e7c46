/* The first byte of a block that needs a closer look. A block has SCAN_BLOCK bytes, all of which are read. */
#ifndef API_SCAN_H
#define API_SCAN_H

#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>

#define SCAN_BLOCK 16

static inline unsigned scan_first(__m128i hits) {
    unsigned bits = (unsigned)_mm_movemask_epi8(hits);
    return bits != 0 ? (unsigned)__builtin_ctz(bits) : SCAN_BLOCK;
}

/* Below `least`, or `mark`. */
static inline unsigned scan_low(const uint8_t *at, uint8_t least, uint8_t mark) {
    __m128i block = _mm_loadu_si128((const __m128i *)at);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8((char)(least - 1))), block);
    return scan_first(_mm_or_si128(low, _mm_cmpeq_epi8(block, _mm_set1_epi8((char)mark))));
}

/* Below 0x20, from 0x80 up, a quote, or a backslash: what a JSON string does not hold as it is. */
static inline unsigned scan_string(const uint8_t *at) {
    __m128i block = _mm_loadu_si128((const __m128i *)at);
    __m128i marks =
        _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')), _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
    return scan_first(_mm_or_si128(marks, _mm_cmplt_epi8(block, _mm_set1_epi8(0x20))));
}

#else
#include <endian.h>
#include <string.h>

#define SCAN_BLOCK 8
#define SCAN_ONES  0x0101010101010101u

static inline uint64_t scan_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return le64toh(word);
}

/* The high bit of each byte below `least`; bytes behind the first one may be marked wrongly (a borrow). */
static inline uint64_t scan_below(uint64_t word, uint8_t least) {
    return (word - SCAN_ONES * least) & ~word;
}

static inline unsigned scan_first(uint64_t hits) {
    hits &= SCAN_ONES * 0x80;
    return hits != 0 ? (unsigned)__builtin_ctzll(hits) / 8 : SCAN_BLOCK;
}

static inline unsigned scan_low(const uint8_t *at, uint8_t least, uint8_t mark) {
    uint64_t word = scan_word(at);
    return scan_first(scan_below(word, least) | scan_below(word ^ SCAN_ONES * mark, 1));
}

static inline unsigned scan_string(const uint8_t *at) {
    uint64_t word = scan_word(at);
    return scan_first(scan_below(word, 0x20) | scan_below(word ^ SCAN_ONES * '"', 1) |
                      scan_below(word ^ SCAN_ONES * '\\', 1) | word);
}

#endif
#endif
