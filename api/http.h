/* A strict HTTP/1.1 request parser (RFC 9110, RFC 9112) on bytes somebody else holds.
 *
 * http_parse_head reads a request's first line and headers. It may be called again with more bytes at any
 * split: it goes on where it stopped, so that a head costs one pass whatever its pieces. What it finds it
 * keeps as offsets from the request's first byte, because a growing buffer moves. http_chunked removes the
 * chunk framing of a body in place.
 *
 * Strict means that there is one reading of every request it accepts, so that no proxy in front can be made
 * to see another one (bug 47). Refused are: bare CR or LF, folded lines, space before a colon, names that are
 * no tokens, control bytes in values; Content-Length that is repeated, signed, a list, or beside
 * Transfer-Encoding; any Transfer-Encoding but `chunked`; chunk sizes with anything but hexadecimal digits; a
 * missing or repeated Host in HTTP/1.1; a fragment or a space in a target. Bytes from 0x80 up may stand in a
 * target: curl sends them as typed. One empty line in front of a request is skipped (RFC 9112, section 2.2).
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "api/error.h"

#define HTTP_HEAD_SIZE_MAX   (16 * 1024) /* bytes of first line and headers; also of trailers */
#define HTTP_FIELDS_MAX      100
#define HTTP_TARGET_SIZE_MAX (8 * 1024)
#define HTTP_CHUNK_LINE_MAX  256 /* bytes of a chunk's size and extensions */

enum http_result { HTTP_DONE, HTTP_MORE, HTTP_BAD };

enum http_method { HTTP_OTHER, HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS };

/* Fields that are kept; each may stand once. */
enum http_field {
    HTTP_HOST,
    HTTP_ORIGIN,
    HTTP_CONTENT_TYPE,
    HTTP_IF_MATCH,
    HTTP_IF_NONE_MATCH,
    HTTP_KV_CLIENT,
    HTTP_KV_REQUEST,
    HTTP_KV_AFTER,
    HTTP_FIELD_COUNT,
};

struct http_slice {
    uint16_t at, size; /* offset from the request's first byte */
};

struct http_head {
    /* Where parsing stopped. */
    uint16_t line;    /* offset of the line being read */
    uint16_t scanned; /* bytes looked at */
    uint8_t phase;
    uint8_t fields;
    /* What was found. */
    enum http_method method;
    uint8_t minor; /* HTTP/1.minor */
    bool keep_alive, close, expect, has_length, has_transfer_encoding, has_query;
    uint32_t present;                         /* bit 1 << enum http_field */
    uint64_t length;                          /* Content-Length */
    struct http_slice path, query, authority; /* authority: of an absolute target */
    struct http_slice field[HTTP_FIELD_COUNT];
    /* HTTP_BAD. */
    enum error error;
    const char *message;
};

/* All zero is the state before the first byte. `request` begins at the request's first byte and holds all
 * that has come of it, and perhaps more. HTTP_DONE: *size is the head's size. HTTP_BAD: error and message. */
enum http_result http_parse_head(struct http_head *head, struct bytes request, size_t *size);

static inline bool http_has(const struct http_head *head, enum http_field field) {
    return (head->present & 1u << field) != 0;
}

static inline struct bytes http_text(struct http_slice slice, const uint8_t *request) {
    return (struct bytes){request + slice.at, slice.size};
}

/* The decoder of a chunked body; all zero before its first byte. */
struct http_chunked {
    uint8_t state;
    uint8_t digits;
    uint16_t line;       /* bytes of the size line or trailers read */
    uint16_t extensions; /* bytes of extensions in the whole body */
    uint64_t left;       /* of the chunk */
    uint64_t total;      /* decoded bytes */
    enum error error;
    const char *message;
};

/* Decodes data in place. *size: in, bytes there; out, decoded bytes at the front. *used: bytes of the input
 * that belong to the body: all of them for HTTP_MORE; what follows is the next request's. A body above
 * size_max is ERROR_TOO_LARGE. */
enum http_result http_chunked_decode(struct http_chunked *c, uint8_t *data, size_t *size, size_t *used,
                                     uint64_t size_max);

/* %XX, and + for a space, in place; *size becomes smaller. False for a bad escape. */
bool http_unescape(uint8_t *data, size_t *size);

/* Text without regard to the case of ASCII letters; `lower` is in lower case. */
bool http_text_is(struct bytes text, const char *lower);

/* "OK", "Not Found" */
const char *http_reason(unsigned status);

#endif
