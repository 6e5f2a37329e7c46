#include "api/json_out.h"

#include "api/json_in.h"
#include "api/scan.h"

#include <assert.h>

/* Bytes that one byte becomes; 1 where it stands for itself. */
/* clang-format off */
static const uint8_t widths[256] = {
    [0x00 ... 0x07] = 6, ['\b'] = 2, ['\t'] = 2, ['\n'] = 2, [0x0b] = 6, ['\f'] = 2, ['\r'] = 2,
    [0x0e ... 0x1f] = 6, [0x20 ... 0x21] = 1, ['"'] = 2, [0x23 ... 0x5b] = 1, ['\\'] = 2, [0x5d ... 0xff] = 1,
};
/* clang-format on */

/* The first byte at or behind `at` that is escaped or not ASCII. */
static size_t plain(struct bytes text, size_t at) {
    while (text.size - at >= SCAN_BLOCK) {
        unsigned first = scan_string(text.data + at);
        at += first;
        if (first < SCAN_BLOCK)
            return at;
    }
    while (at < text.size && text.data[at] < 0x80 && widths[text.data[at]] == 1)
        at++;
    return at;
}

size_t json_size(struct bytes text) {
    size_t at = plain(text, 0), size = at;
    if (at == text.size)
        return size;
    if (utf8_valid((struct bytes){text.data + at, text.size - at}) != text.size - at)
        return JSON_NOT_UTF8;
    for (; at < text.size; at++)
        size += widths[text.data[at]];
    return size;
}

static uint8_t *put_escaped(uint8_t *out, uint8_t c) {
    static const char digits[] = "0123456789abcdef";
    *out++ = '\\';
    switch (c) {
    case '\b':
        *out++ = 'b';
        return out;
    case '\t':
        *out++ = 't';
        return out;
    case '\n':
        *out++ = 'n';
        return out;
    case '\f':
        *out++ = 'f';
        return out;
    case '\r':
        *out++ = 'r';
        return out;
    case '"':
    case '\\':
        *out++ = c;
        return out;
    default:
        memcpy(out, "u00", 3);
        out[3] = (uint8_t)digits[c >> 4];
        out[4] = (uint8_t)digits[c & 15];
        return out + 5;
    }
}

uint8_t *json_put(uint8_t *out, struct bytes text, size_t size) {
    assert(size != JSON_NOT_UTF8);
    if (size == text.size) {
        if (size > 0)
            memcpy(out, text.data, size);
        return out + size;
    }
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (widths[c] == 1)
            *out++ = c;
        else
            out = put_escaped(out, c);
    }
    return out;
}

void json_append_content(struct buffer *out, struct bytes text) {
    while (text.size > 0) {
        struct bytes valid = {text.data, utf8_valid(text)};
        size_t size = json_size(valid);
        json_put(buffer_reserve(out, size), valid, size);
        buffer_grow(out, size);
        if (valid.size < text.size) {
            buffer_append_text(out, "\xef\xbf\xbd");
            valid.size++;
        }
        text.data += valid.size;
        text.size -= valid.size;
    }
}

void json_append(struct buffer *out, struct bytes text) {
    buffer_append_text(out, "\"");
    json_append_content(out, text);
    buffer_append_text(out, "\"");
}
