/* Bodies and escapes: the chunked framing (RFC 9112, section 7.1) as a state machine over single bytes
 * between runs of data, and percent-encoding.
 *
 *     SIZE -digits-> SIZE -;-> EXTENSION -CR-> SIZE_LF -LF-> DATA (or TRAILER_START for size 0)
 *     DATA -all-> DATA_CR -> DATA_LF -> SIZE
 *     TRAILER_START -CR-> END_LF -LF-> done; -token-> TRAILER_NAME -:-> TRAILER_VALUE -CR-> TRAILER_LF
 *
 * Trailers are checked and dropped. */
#include "api/http.h"

enum {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
};

#define EXTENSIONS_MAX (4 * 1024) /* bytes in one body: nothing uses them, so more is an attack */

static enum http_result bad(struct http_chunked *c, enum error error, const char *message) {
    c->error = error;
    c->message = message;
    return HTTP_BAD;
}

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool text_byte(uint8_t c) {
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

static bool name_byte(uint8_t c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c != '\0' && c < 0x7f && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* One byte of a size line up to its CR. */
static enum http_result size_byte(struct http_chunked *c, uint8_t byte) {
    int digit = hex(byte);
    if (++c->line > HTTP_CHUNK_LINE_MAX)
        return bad(c, ERROR_BAD_REQUEST, "A chunk's size line is longer than 256 bytes.");
    if (digit >= 0 && c->digits < 15) {
        c->left = c->left << 4 | (unsigned)digit;
        c->digits++;
        return HTTP_MORE;
    }
    if (c->digits == 0 || (byte != ';' && byte != '\r'))
        return bad(c, ERROR_BAD_REQUEST, "A chunk's size is not a hexadecimal number of up to 15 digits.");
    c->state = byte == ';' ? EXTENSION : SIZE_LF;
    return HTTP_MORE;
}

static enum http_result extension_byte(struct http_chunked *c, uint8_t byte) {
    if (++c->line > HTTP_CHUNK_LINE_MAX || ++c->extensions > EXTENSIONS_MAX)
        return bad(c, ERROR_BAD_REQUEST, "The chunk extensions are too long.");
    if (byte == '\r')
        c->state = SIZE_LF;
    else if (!text_byte(byte))
        return bad(c, ERROR_BAD_REQUEST, "A chunk extension holds a control byte.");
    return HTTP_MORE;
}

static enum http_result size_done(struct http_chunked *c, uint64_t size_max) {
    if (c->left > size_max - c->total)
        return bad(c, ERROR_TOO_LARGE, "The body is too large.");
    c->line = 0;
    c->digits = 0;
    c->state = c->left == 0 ? TRAILER_START : DATA;
    return HTTP_MORE;
}

static enum http_result trailer_byte(struct http_chunked *c, uint8_t byte) {
    if (++c->line > HTTP_HEAD_SIZE_MAX)
        return bad(c, ERROR_HEADERS_TOO_LARGE, "The trailers are larger than 16384 bytes.");
    if (c->state == TRAILER_VALUE && (text_byte(byte) || byte == '\r')) {
        c->state = byte == '\r' ? TRAILER_LF : TRAILER_VALUE;
        return HTTP_MORE;
    }
    if (c->state == TRAILER_START && byte == '\r') {
        c->state = END_LF;
        return HTTP_MORE;
    }
    if (c->state == TRAILER_NAME && byte == ':') {
        c->state = TRAILER_VALUE;
        return HTTP_MORE;
    }
    if (c->state == TRAILER_VALUE || !name_byte(byte))
        return bad(c, ERROR_BAD_REQUEST, "A trailer is malformed.");
    c->state = TRAILER_NAME;
    return HTTP_MORE;
}

static enum http_result framing_byte(struct http_chunked *c, uint8_t byte, uint64_t size_max) {
    switch (c->state) {
    case SIZE:
        return size_byte(c, byte);
    case EXTENSION:
        return extension_byte(c, byte);
    case SIZE_LF:
        return byte == '\n' ? size_done(c, size_max)
                            : bad(c, ERROR_BAD_REQUEST, "A CR stands without its LF.");
    case DATA_CR:
        c->state = DATA_LF;
        return byte == '\r' ? HTTP_MORE : bad(c, ERROR_BAD_REQUEST, "A chunk is longer than its size.");
    case DATA_LF:
        c->state = SIZE;
        return byte == '\n' ? HTTP_MORE : bad(c, ERROR_BAD_REQUEST, "A chunk is longer than its size.");
    case TRAILER_LF:
        c->state = TRAILER_START;
        return byte == '\n' ? HTTP_MORE : bad(c, ERROR_BAD_REQUEST, "A CR stands without its LF.");
    case END_LF:
        return byte == '\n' ? HTTP_DONE : bad(c, ERROR_BAD_REQUEST, "A CR stands without its LF.");
    default:
        return trailer_byte(c, byte);
    }
}

enum http_result http_chunked_decode(struct http_chunked *c, uint8_t *data, size_t *size, size_t *used,
                                     uint64_t size_max) {
    size_t in = 0, out = 0, end = *size;
    enum http_result result = HTTP_MORE;
    while (in < end && result == HTTP_MORE) {
        if (c->state != DATA) {
            result = framing_byte(c, data[in++], size_max);
            continue;
        }
        size_t run = end - in < c->left ? end - in : (size_t)c->left;
        memmove(data + out, data + in, run);
        in += run;
        out += run;
        c->left -= run;
        c->total += run;
        if (c->left == 0)
            c->state = DATA_CR;
    }
    *size = out;
    *used = in;
    return result;
}

bool http_unescape(uint8_t *data, size_t *size) {
    size_t out = 0;
    if (memchr(data, '%', *size) == NULL && memchr(data, '+', *size) == NULL)
        return true;
    for (size_t in = 0; in < *size; in++) {
        uint8_t c = data[in];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = *size - in > 2 ? hex(data[in + 1]) : -1;
            int low = high >= 0 ? hex(data[in + 2]) : -1;
            if (low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            in += 2;
        }
        data[out++] = c;
    }
    *size = out;
    return true;
}
