#include "api/http.h"

#include "api/scan.h"

#include <assert.h>

enum phase { PHASE_START, PHASE_FIRST_LINE, PHASE_FIELDS, PHASE_DONE };

/* Characters of a method or a field name (RFC 9110, section 5.6.2). */
/* clang-format off */
static const bool token[256] = {
    ['!'] = true, ['#' ... '\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true,
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['^' ... 'z'] = true, ['|'] = true, ['~'] = true,
};
/* clang-format on */

static enum http_result bad(struct http_head *head, enum error error, const char *message) {
    head->error = error;
    head->message = message;
    return HTTP_BAD;
}

bool http_text_is(struct bytes text, const char *lower) {
    if (strlen(lower) != text.size)
        return false;
    if (memcmp(text.data, lower, text.size) == 0)
        return true;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != (uint8_t)lower[i])
            return false;
    }
    return true;
}

/* At most eight bytes as one number. */
static inline uint64_t word_of(const void *from, size_t size) {
    uint64_t word = 0;
    memcpy(&word, from, size);
    return word;
}

/* What http_text_is says, of a field's name that has the right size, eight bytes at a time. The bit 0x20
 * makes one of two letters; of names made of letters and dashes, nothing else that a line may hold becomes
 * the same. */
static inline bool name_is(const uint8_t *name, const char *lower, size_t size) {
    const uint64_t cases = 0x2020202020202020u;
    size_t step = size < 8 ? size : 8;
    uint64_t differs = 0;
    for (size_t i = 0; i + step <= size; i += step)
        differs |= (word_of(name + i, step) | word_of(&cases, step)) ^ word_of(lower + i, step);
    size_t last = size - step;
    return (differs | ((word_of(name + last, step) | word_of(&cases, step)) ^ word_of(lower + last, step))) ==
           0;
}

#define NAME_IS(name, lower) name_is((name), lower, sizeof lower - 1)

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

/* The first control byte that is no tab; end when there is none. */
static const uint8_t *find_control(const uint8_t *at, const uint8_t *end) {
    while (end - at >= SCAN_BLOCK) {
        unsigned first = scan_low(at, 0x20, 0x7f);
        at += first;
        if (first == SCAN_BLOCK)
            continue;
        if (*at != '\t')
            return at;
        at++;
    }
    while (at < end && ((*at >= 0x20 && *at != 0x7f) || *at == '\t'))
        at++;
    return at;
}

/* Methods and fields by size, then by text. */
static enum http_method method_of(struct bytes m) {
    switch (m.size) {
    case 3:
        return memcmp(m.data, "GET", 3) == 0   ? HTTP_GET
               : memcmp(m.data, "PUT", 3) == 0 ? HTTP_PUT
                                               : HTTP_OTHER;
    case 4:
        return memcmp(m.data, "POST", 4) == 0   ? HTTP_POST
               : memcmp(m.data, "HEAD", 4) == 0 ? HTTP_HEAD
                                                : HTTP_OTHER;
    case 6:
        return memcmp(m.data, "DELETE", 6) == 0 ? HTTP_DELETE : HTTP_OTHER;
    case 7:
        return memcmp(m.data, "OPTIONS", 7) == 0 ? HTTP_OPTIONS : HTTP_OTHER;
    default:
        return HTTP_OTHER;
    }
}

/* The first byte from `at` on that ends a target or has no place in one: a blank, or #. */
static const uint8_t *target_end(const uint8_t *at, const uint8_t *end) {
    while (end - at >= SCAN_BLOCK) {
        unsigned first = scan_low(at, 0x21, '#');
        at += first;
        if (first < SCAN_BLOCK)
            return at;
    }
    while (at < end && at[0] > ' ' && at[0] != '#')
        at++;
    return at;
}

/* origin-form, absolute-form of http, or * for OPTIONS (RFC 9112, section 3.2). */
static enum http_result parse_target(struct http_head *head, const uint8_t *base, struct bytes target,
                                     const uint8_t *limit) {
    if (target.size > HTTP_TARGET_SIZE_MAX)
        return bad(head, ERROR_HEADERS_TOO_LARGE, "The target is longer than 8192 bytes.");
    const uint8_t *at = target.data, *end = at + target.size;
    if (target_end(at, limit) != end)
        return bad(head, ERROR_BAD_REQUEST, "The target holds a byte that must be percent-encoded.");
    if (target.size > 7 && http_text_is((struct bytes){at, 7}, "http://")) {
        at += 7;
        const uint8_t *authority = at;
        while (at < end && *at != '/' && *at != '?')
            at++;
        head->authority = (struct http_slice){(uint16_t)(authority - base), (uint16_t)(at - authority)};
        if (at == authority)
            return bad(head, ERROR_BAD_REQUEST, "The target names no host.");
    } else if (!(target.size == 1 && *at == '*' && head->method == HTTP_OPTIONS) &&
               (target.size == 0 || *at != '/')) {
        return bad(head, ERROR_BAD_REQUEST, "The target does not begin with /.");
    }
    const uint8_t *mark = memchr(at, '?', (size_t)(end - at));
    const uint8_t *path_end = mark != NULL ? mark : end;
    head->path = (struct http_slice){(uint16_t)(at - base), (uint16_t)(path_end - at)};
    head->has_query = mark != NULL;
    if (mark != NULL)
        head->query = (struct http_slice){(uint16_t)(mark + 1 - base), (uint16_t)(end - mark - 1)};
    return HTTP_MORE;
}

static enum http_result parse_first_line(struct http_head *head, const uint8_t *base, struct bytes line,
                                         const uint8_t *limit) {
    const uint8_t *at = line.data, *end = at + line.size;
    while (at < end && token[*at])
        at++;
    if (at == line.data || at == end || *at != ' ')
        return bad(head, ERROR_BAD_REQUEST, "The first line is not `METHOD target HTTP/1.1`.");
    head->method = method_of((struct bytes){line.data, (size_t)(at - line.data)});
    at++;
    /* From the end: " HTTP/1.1" is nine bytes. */
    if (end - at < 9 || memcmp(end - 9, " HTTP/", 6) != 0 || !is_digit(end[-3]) || end[-2] != '.' ||
        !is_digit(end[-1]))
        return bad(head, ERROR_BAD_REQUEST, "The first line is not `METHOD target HTTP/1.1`.");
    if (end[-3] != '1' || end[-1] > '1')
        return bad(head, ERROR_HTTP_VERSION, "The request's HTTP version is not 1.1 or 1.0.");
    head->minor = (uint8_t)(end[-1] - '0');
    head->keep_alive = head->minor == 1;
    return parse_target(head, base, (struct bytes){at, (size_t)(end - 9 - at)}, limit);
}

static enum http_result keep_field(struct http_head *head, enum http_field field, const uint8_t *base,
                                   struct bytes value) {
    if (http_has(head, field))
        return bad(head, ERROR_BAD_REQUEST, "A header that may stand once is repeated.");
    head->present |= 1u << field;
    head->field[field] = (struct http_slice){(uint16_t)(value.data - base), (uint16_t)value.size};
    return HTTP_MORE;
}

static enum http_result parse_length(struct http_head *head, struct bytes value) {
    if (head->has_length)
        return bad(head, ERROR_BAD_REQUEST, "Content-Length is repeated.");
    head->has_length = true;
    if (value.size == 0 || value.size > 19)
        return bad(head, ERROR_BAD_REQUEST, "Content-Length is not a number of bytes.");
    for (size_t i = 0; i < value.size; i++) {
        if (!is_digit(value.data[i]))
            return bad(head, ERROR_BAD_REQUEST, "Content-Length is not a number of bytes.");
        head->length = head->length * 10 + (value.data[i] - '0');
    }
    return HTTP_MORE;
}

static enum http_result parse_transfer_encoding(struct http_head *head, struct bytes value) {
    if (head->has_transfer_encoding)
        return bad(head, ERROR_BAD_REQUEST, "Transfer-Encoding is repeated.");
    head->has_transfer_encoding = true;
    if (!http_text_is(value, "chunked"))
        return bad(head, ERROR_BAD_REQUEST, "Transfer-Encoding is not `chunked`.");
    return HTTP_MORE;
}

/* A list of tokens; close wins over keep-alive, wherever it stands. */
static enum http_result parse_connection(struct http_head *head, struct bytes value) {
    const uint8_t *at = value.data, *end = at + value.size;
    while (at < end) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == ','))
            at++;
        const uint8_t *from = at;
        while (at < end && token[*at])
            at++;
        struct bytes option = {from, (size_t)(at - from)};
        head->close = head->close || http_text_is(option, "close");
        if (http_text_is(option, "keep-alive"))
            head->keep_alive = true;
        while (at < end && *at != ',')
            at++;
    }
    return HTTP_MORE;
}

static enum http_result parse_expect(struct http_head *head, struct bytes value) {
    if (head->minor == 0)
        return HTTP_MORE; /* RFC 9110, section 10.1.1: ignored in HTTP/1.0 */
    if (!http_text_is(value, "100-continue"))
        return bad(head, ERROR_EXPECTATION, "The Expect header asks for something other than 100-continue.");
    head->expect = true;
    return HTTP_MORE;
}

/* Beyond the fields that are kept (enum http_field): those that are read at once. */
enum {
    KNOWN_LENGTH = HTTP_FIELD_COUNT,
    KNOWN_TRANSFER_ENCODING,
    KNOWN_CONNECTION,
    KNOWN_EXPECT,
    KNOWN_NOT,
};

/* By size first: most names are told apart by it. */
static unsigned known_of(const uint8_t *name, size_t size) {
    switch (size) {
    case 4:
        return NAME_IS(name, "host") ? HTTP_HOST : KNOWN_NOT;
    case 6:
        return NAME_IS(name, "origin") ? HTTP_ORIGIN : NAME_IS(name, "expect") ? KNOWN_EXPECT : KNOWN_NOT;
    case 8:
        return NAME_IS(name, "if-match")   ? HTTP_IF_MATCH
               : NAME_IS(name, "kv-after") ? HTTP_KV_AFTER
                                           : KNOWN_NOT;
    case 9:
        return NAME_IS(name, "kv-client") ? HTTP_KV_CLIENT : KNOWN_NOT;
    case 10:
        return NAME_IS(name, "connection")   ? KNOWN_CONNECTION
               : NAME_IS(name, "kv-request") ? HTTP_KV_REQUEST
                                             : KNOWN_NOT;
    case 12:
        return NAME_IS(name, "content-type") ? HTTP_CONTENT_TYPE : KNOWN_NOT;
    case 13:
        return NAME_IS(name, "if-none-match") ? HTTP_IF_NONE_MATCH : KNOWN_NOT;
    case 14:
        return NAME_IS(name, "content-length") ? KNOWN_LENGTH : KNOWN_NOT;
    case 17:
        return NAME_IS(name, "transfer-encoding") ? KNOWN_TRANSFER_ENCODING : KNOWN_NOT;
    default:
        return KNOWN_NOT;
    }
}

static bool is_token(struct bytes name) {
    for (size_t i = 0; i < name.size; i++)
        if (!token[name.data[i]])
            return false;
    return name.size > 0;
}

static enum http_result parse_field(struct http_head *head, const uint8_t *base, struct bytes line) {
    const uint8_t *end = line.data + line.size, *at = memchr(line.data, ':', line.size);
    if (++head->fields > HTTP_FIELDS_MAX)
        return bad(head, ERROR_HEADERS_TOO_LARGE, "There are more than 100 headers.");
    size_t size = at != NULL ? (size_t)(at - line.data) : 0;
    unsigned known = known_of(line.data, size);
    if (known == KNOWN_NOT && !is_token((struct bytes){line.data, size}))
        return bad(head, ERROR_BAD_REQUEST,
                   "A header's name is empty, folded, or holds a byte that no name has.");
    at++;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    struct bytes value = {at, (size_t)(end - at)};
    switch (known) {
    case KNOWN_NOT:
        return HTTP_MORE;
    case KNOWN_LENGTH:
        return parse_length(head, value);
    case KNOWN_TRANSFER_ENCODING:
        return parse_transfer_encoding(head, value);
    case KNOWN_CONNECTION:
        return parse_connection(head, value);
    case KNOWN_EXPECT:
        return parse_expect(head, value);
    default:
        return keep_field(head, (enum http_field)known, base, value);
    }
}

/* What only the whole head can tell. */
static enum http_result check_head(struct http_head *head, const uint8_t *base) {
    if (head->has_length && head->has_transfer_encoding)
        return bad(head, ERROR_BAD_REQUEST, "Content-Length and Transfer-Encoding stand together.");
    if (head->has_transfer_encoding && head->minor == 0)
        return bad(head, ERROR_BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding.");
    if (!http_has(head, HTTP_HOST) && head->minor == 1)
        return bad(head, ERROR_BAD_REQUEST, "The Host header is missing.");
    if (head->authority.size > 0) {
        struct bytes host = http_text(head->field[HTTP_HOST], base);
        if (!http_has(head, HTTP_HOST) || !bytes_equal(host, http_text(head->authority, base)))
            return bad(head, ERROR_BAD_REQUEST, "The target's host and the Host header differ.");
    }
    head->keep_alive = head->keep_alive && !head->close;
    head->phase = PHASE_DONE;
    return HTTP_DONE;
}

/* One line without its CRLF; the bytes up to limit can be read. */
static enum http_result parse_line(struct http_head *head, const uint8_t *base, struct bytes line,
                                   const uint8_t *limit) {
    if (head->phase == PHASE_FIELDS)
        return line.size == 0 ? check_head(head, base) : parse_field(head, base, line);
    if (line.size == 0 && head->phase == PHASE_START) {
        head->phase = PHASE_FIRST_LINE;
        return HTTP_MORE;
    }
    head->phase = PHASE_FIELDS;
    return parse_first_line(head, base, line, limit);
}

enum http_result http_parse_head(struct http_head *head, struct bytes request, size_t *size) {
    assert(head->phase != PHASE_DONE);
    assert(head->scanned <= request.size);
    const uint8_t *base = request.data;
    size_t limit = request.size < HTTP_HEAD_SIZE_MAX ? request.size : HTTP_HEAD_SIZE_MAX;
    const uint8_t *end = base + limit, *at = base + head->scanned, *line = base + head->line;
    for (;;) {
        at = find_control(at, end);
        if (end - at < 2)
            break;
        if (at[0] != '\r' || at[1] != '\n')
            return bad(head, ERROR_BAD_REQUEST, "The head holds a control byte, or a CR or LF of its own.");
        enum http_result result = parse_line(head, base, (struct bytes){line, (size_t)(at - line)}, end);
        at += 2;
        line = at;
        if (result == HTTP_DONE)
            *size = (size_t)(at - base);
        if (result != HTTP_MORE)
            return result;
    }
    if (end > at && *at != '\r')
        return bad(head, ERROR_BAD_REQUEST, "The head holds a control byte, or a CR or LF of its own.");
    if (limit == HTTP_HEAD_SIZE_MAX)
        return bad(head, ERROR_HEADERS_TOO_LARGE, "The first line and headers are larger than 16384 bytes.");
    head->line = (uint16_t)(line - base);
    head->scanned = (uint16_t)(at - base);
    return HTTP_MORE;
}

const char *http_reason(unsigned status) {
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 307:
        return "Temporary Redirect";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "Error";
    }
}
