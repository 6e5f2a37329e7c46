/* What the fuzz targets share: a cursor over the fuzzer's bytes, and a check that ends the run.
 *
 * A target is one file with LLVMFuzzerTestOneInput, named after what it feeds. Its input is most often a
 * script: small numbers that choose what happens next, and bytes to do it with; a script that has ended reads
 * as zeros. What is handed to a decoder lies at the end of its own allocation, so that a read past it is
 * seen. Everything is linked with checksum.c instead of storage/crc32c.c: an attacker can make checksums, so
 * they must not protect the fuzzed code. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "storage/buffer.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(expression)                                                                                     \
    do {                                                                                                     \
        if (!(expression)) {                                                                                 \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #expression);                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct script {
    const uint8_t *at, *end;
};

static inline struct script script_of(const uint8_t *data, size_t size) {
    return (struct script){data, data + size};
}

static inline size_t script_left(const struct script *s) {
    return (size_t)(s->end - s->at);
}

static inline uint8_t take_u8(struct script *s) {
    return s->at < s->end ? *s->at++ : 0;
}

static inline uint16_t take_u16(struct script *s) {
    uint16_t low = take_u8(s);
    return (uint16_t)(low | take_u8(s) << 8);
}

/* As many bytes as there are, at most size. */
static inline struct bytes take_bytes(struct script *s, size_t size) {
    struct bytes taken = {s->at, size < script_left(s) ? size : script_left(s)};
    s->at += taken.size;
    return taken;
}

/* A size of one byte, or of two where it is 255, and the bytes. */
static inline struct bytes take_sized(struct script *s) {
    size_t size = take_u8(s);
    return take_bytes(s, size == 255 ? take_u16(s) : size);
}

/* A copy that nothing readable follows; the caller frees it. */
static inline uint8_t *exact(struct bytes from) {
    uint8_t *copy = malloc(from.size);
    if (from.size > 0)
        memcpy(copy, from.data, from.size);
    return copy;
}

/* Reads every byte. */
static inline void touch(struct bytes bytes) {
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes.size; i++)
        sum = (uint8_t)(sum + bytes.data[i]);
    __asm__ volatile("" : : "r"(sum));
}

#endif
