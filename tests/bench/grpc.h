/* What load.c needs of gRPC to ask etcd: unary calls over HTTP/2, one at a time on a connection.
 *
 * Frames are those of RFC 9113; a header block names its fields each time anew (RFC 7541, 6.2.2), so that all
 * calls of a method are the same bytes but for the stream's number. Messages are etcd's PutRequest and
 * RangeRequest. Replies' header blocks are not decoded: a call that failed has no message. */
#ifndef TESTS_BENCH_GRPC_H
#define TESTS_BENCH_GRPC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    GRPC_FRAME_SIZE = 9,   /* of a frame's head */
    GRPC_PREFIX_SIZE = 5,  /* of a message: compressed or not, size */
    GRPC_CALL_MAX = 1024,  /* bytes of a call but for its value */
    GRPC_WINDOW = 1 << 30, /* bytes of replies that may come at once */
    GRPC_DATA = 0,
    GRPC_HEADERS = 1,
    GRPC_RST_STREAM = 3,
    GRPC_SETTINGS = 4,
    GRPC_PING = 6,
    GRPC_GOAWAY = 7,
    GRPC_WINDOW_UPDATE = 8,
    GRPC_END = 1, /* of a stream; of SETTINGS and PING: an acknowledgement */
    GRPC_END_HEADERS = 4,
};

struct grpc_frame {
    unsigned type, flags;
    uint32_t stream;
    const uint8_t *payload;
    size_t size;
};

static inline void grpc_put_u32(char *to, uint32_t number) {
    for (int i = 3; i >= 0; i--, number >>= 8)
        to[i] = (char)number;
}

static inline uint32_t grpc_u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline char *grpc_frame_head(char *to, unsigned type, unsigned flags, uint32_t stream, size_t size) {
    grpc_put_u32(to, (uint32_t)size << 8);
    to[3] = (char)type;
    to[4] = (char)flags;
    grpc_put_u32(to + 5, stream);
    return to + GRPC_FRAME_SIZE;
}

/* The size of the first frame in the bytes, 0 while it is not whole. */
static inline size_t grpc_frame_read(const char *data, size_t size, struct grpc_frame *out) {
    const uint8_t *at = (const uint8_t *)data;
    if (size < GRPC_FRAME_SIZE || size - GRPC_FRAME_SIZE < (out->size = grpc_u32(at) >> 8))
        return 0;
    out->type = at[3];
    out->flags = at[4];
    out->stream = grpc_u32(at + 5) & INT32_MAX;
    out->payload = at + GRPC_FRAME_SIZE;
    return GRPC_FRAME_SIZE + out->size;
}

/* What a connection begins with; returns its size. */
static inline size_t grpc_open(char to[GRPC_CALL_MAX]) {
    char *at = stpcpy(to, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    at = grpc_frame_head(at, GRPC_SETTINGS, 0, 0, 0);
    at = grpc_frame_head(at, GRPC_WINDOW_UPDATE, 0, 0, 4);
    grpc_put_u32(at, GRPC_WINDOW);
    return (size_t)(at + 4 - to);
}

static inline char *grpc_text(char *to, const char *text) {
    *to = (char)strlen(text);
    return stpcpy(to + 1, text);
}

static inline char *grpc_head(char *to, const char *path, const char *authority) {
    char *at = to + GRPC_FRAME_SIZE;
    *at++ = (char)0x83; /* :method POST */
    *at++ = (char)0x86; /* :scheme http */
    *at++ = 0x04;
    at = grpc_text(at, path);
    *at++ = 0x01;
    at = grpc_text(at, authority);
    *at++ = 0x0f; /* content-type: 31 in the static table */
    *at++ = 0x10;
    at = grpc_text(at, "application/grpc");
    *at++ = 0;
    at = grpc_text(at, "te");
    at = grpc_text(at, "trailers");
    grpc_frame_head(to, GRPC_HEADERS, GRPC_END_HEADERS, 0, (size_t)(at - to - GRPC_FRAME_SIZE));
    return at;
}

static inline char *grpc_varint(char *to, size_t number) {
    for (; number >= 0x80; number >>= 7)
        *to++ = (char)(number | 0x80);
    *to++ = (char)number;
    return to;
}

/* A call: a put with a value, a serializable get where that is NULL. Returns its size; `second` is where its
 * DATA frame begins, `key_at` where the key stands. Room: GRPC_CALL_MAX and the value. */
static inline size_t grpc_call(char *to, const char *authority, const char *key, const char *value,
                               size_t *second, size_t *key_at) {
    char *frame = grpc_head(to, value != NULL ? "/etcdserverpb.KV/Put" : "/etcdserverpb.KV/Range", authority);
    char *message = frame + GRPC_FRAME_SIZE + GRPC_PREFIX_SIZE, *at = message;
    *at++ = 0x0a;
    at = grpc_text(at, key);
    *key_at = (size_t)(at - to) - strlen(key);
    if (value != NULL) {
        *at++ = 0x12;
        at = stpcpy(grpc_varint(at, strlen(value)), value);
    } else {
        *at++ = 0x38; /* serializable: what this member has */
        *at++ = 1;
    }
    *second = (size_t)(frame - to);
    grpc_frame_head(frame, GRPC_DATA, GRPC_END, 0, (size_t)(at - message) + GRPC_PREFIX_SIZE);
    frame[GRPC_FRAME_SIZE] = 0;
    grpc_put_u32(frame + GRPC_FRAME_SIZE + 1, (uint32_t)(at - message));
    return (size_t)(at - to);
}

#endif
