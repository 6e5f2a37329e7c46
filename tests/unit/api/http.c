/* The request parser: what it accepts, what it refuses, at every split. */
#include "api/http.h"
#include "tests/tap.h"

#include <stdlib.h>

#define HOST "Host: a:1\r\n"
#define GET  "GET /get?key=a HTTP/1.1\r\n" HOST

struct sample {
    const char *text;
    enum error error; /* ERROR_NONE: accepted */
};

static const struct sample samples[] = {
    {GET "\r\n", ERROR_NONE},
    {"\r\n" GET "\r\n", ERROR_NONE},
    {"GET / HTTP/1.0\r\n\r\n", ERROR_NONE},
    {"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", ERROR_NONE},
    {GET "X: \t a b \t\r\nY:\r\nZ:z\r\n\r\n", ERROR_NONE},
    {GET "X: \xc3\xa9\r\n\r\n", ERROR_NONE},
    {"GET /get?key=\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", ERROR_NONE},
    {"GET http://a:1/get?key=a HTTP/1.1\r\n" HOST "\r\n", ERROR_NONE},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", ERROR_NONE},
    {"BREW / HTTP/1.1\r\n" HOST "\r\n", ERROR_NONE},
    {"POST /set HTTP/1.1\r\n" HOST "Content-Length: 0005\r\n\r\n", ERROR_NONE},
    {"POST /set HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n", ERROR_NONE},
    {"POST /set HTTP/1.1\r\n" HOST "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n", ERROR_NONE},
    {GET "Connection: foo, Close\r\n\r\n", ERROR_NONE},

    /* Two readings of where a request ends (bug 47). */
    {GET "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: 1, 1\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: +1\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: -1\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: 1 2\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: 0x5\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: a\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length:\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: 99999999999999999999\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: 18446744073709551617\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Transfer-Encoding: chunked, chunked\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Transfer-Encoding: gzip, chunked\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Transfer-Encoding: identity\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Transfer-Encoding: xchunked\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Transfer-Encoding: \x0b"
         "chunked\r\n\r\n",
     ERROR_BAD_REQUEST},
    {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ERROR_BAD_REQUEST},

    /* Lines. */
    {"GET / HTTP/1.1\nHost: a\n\n", ERROR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", ERROR_BAD_REQUEST},
    {GET "X: a\rb\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X: a\r\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X: a\r\n b\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X: a\r\n\tb\r\n\r\n", ERROR_BAD_REQUEST},
    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", ERROR_BAD_REQUEST},
    {"\r\n\r\n" GET "\r\n", ERROR_BAD_REQUEST},

    /* Names and values. */
    {GET "X : a\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X\t: a\r\n\r\n", ERROR_BAD_REQUEST},
    {GET ": a\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X(: a\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X\xc3\xa9: a\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X: a\x01\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "X: a\x7f\r\n\r\n", ERROR_BAD_REQUEST},

    /* The first line. */
    {"GET /\r\n\r\n", ERROR_BAD_REQUEST},
    {"GET  / HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET /  HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET / HTTP/1.1 \r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET\t/\tHTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET / http/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET /#a HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET /a b HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET a HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET * HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {" GET / HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"G@T / HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", ERROR_HTTP_VERSION},
    {"GET / HTTP/1.2\r\n" HOST "\r\n", ERROR_HTTP_VERSION},
    {"GET / HTTP/0.9\r\n" HOST "\r\n", ERROR_HTTP_VERSION},
    {"GET http://b:1/ HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET http:///get HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET https://a:1/ HTTP/1.1\r\n" HOST "\r\n", ERROR_BAD_REQUEST},
    {"GET http://a:1/ HTTP/1.0\r\n\r\n", ERROR_BAD_REQUEST},

    /* Host and Expect. */
    {"GET / HTTP/1.1\r\n\r\n", ERROR_BAD_REQUEST},
    {GET HOST "\r\n", ERROR_BAD_REQUEST},
    {GET "Origin: http://a\r\nOrigin: http://a\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "If-Match: *\r\nIf-Match: *\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n", ERROR_BAD_REQUEST},
    {GET "Expect: 200-ok\r\n\r\n", ERROR_EXPECTATION},
};

#define SAMPLES (sizeof samples / sizeof samples[0])

struct outcome {
    enum http_result result;
    size_t size;
    struct http_head head;
};

/* One call, on bytes that end where their memory does. */
static void feed(struct outcome *o, const char *text, size_t size) {
    uint8_t *exact = malloc(size + 1);
    memcpy(exact + 1, text, size);
    o->result = http_parse_head(&o->head, (struct bytes){exact + 1, size}, &o->size);
    free(exact);
}

static struct outcome parse_whole(const char *text, size_t size) {
    struct outcome o = {0};
    feed(&o, text, size);
    return o;
}

static struct outcome parse_bytewise(const char *text, size_t size) {
    struct outcome o = {0};
    o.result = HTTP_MORE;
    for (size_t i = 1; i <= size && o.result == HTTP_MORE; i++)
        feed(&o, text, i);
    return o;
}

static bool slice_equal(struct http_slice a, struct http_slice b) {
    return a.at == b.at && a.size == b.size;
}

static bool same(const struct outcome *a, const struct outcome *b) {
    if (a->result != b->result)
        return false;
    if (a->result == HTTP_BAD)
        return a->head.error == b->head.error && strcmp(a->head.message, b->head.message) == 0;
    for (int i = 0; i < HTTP_FIELD_COUNT; i++)
        if (!slice_equal(a->head.field[i], b->head.field[i]))
            return false;
    return a->result == HTTP_MORE ||
           (a->size == b->size && a->head.method == b->head.method && a->head.length == b->head.length &&
            a->head.keep_alive == b->head.keep_alive && slice_equal(a->head.path, b->head.path) &&
            slice_equal(a->head.query, b->head.query));
}

TEST(each_sample_is_accepted_or_refused_as_it_should_be) {
    for (size_t i = 0; i < SAMPLES; i++) {
        struct outcome o = parse_whole(samples[i].text, strlen(samples[i].text));
        enum error error = o.result == HTTP_BAD ? o.head.error : ERROR_NONE;
        if (o.result == HTTP_MORE || error != samples[i].error)
            printf("# sample %zu: %s\n", i, samples[i].text);
        OK(o.result != HTTP_MORE);
        EQUAL(error, samples[i].error);
        if (o.result == HTTP_DONE)
            EQUAL(o.size, strlen(samples[i].text));
    }
}

TEST(every_split_of_a_head_gives_the_same_result) {
    for (size_t i = 0; i < SAMPLES; i++) {
        const char *text = samples[i].text;
        size_t size = strlen(text);
        struct outcome whole = parse_whole(text, size), bytewise = parse_bytewise(text, size);
        if (!OK(same(&whole, &bytewise)))
            printf("# sample %zu: %s\n", i, text);
        for (size_t split = 0; split < size; split++) {
            struct outcome o = {0};
            feed(&o, text, split);
            if (o.result == HTTP_MORE)
                feed(&o, text, size);
            if (!same(&whole, &o)) {
                OK(same(&whole, &o));
                printf("# sample %zu split at %zu: %s\n", i, split, text);
            }
        }
    }
}

TEST(a_prefix_of_a_good_head_wants_more) {
    for (size_t i = 0; i < SAMPLES; i++)
        if (samples[i].error == ERROR_NONE)
            for (size_t size = 0; size < strlen(samples[i].text); size++)
                EQUAL(parse_whole(samples[i].text, size).result, HTTP_MORE);
}

TEST(flipped_bits_never_break_the_parser_and_splits_agree_on_them) {
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t size = strlen(samples[i].text);
        char *text = malloc(size);
        for (size_t bit = 0; bit < size * 8; bit++) {
            memcpy(text, samples[i].text, size);
            text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
            struct outcome whole = parse_whole(text, size), bytewise = parse_bytewise(text, size);
            if (!same(&whole, &bytewise))
                OK(same(&whole, &bytewise));
        }
        free(text);
    }
    OK(SAMPLES > 60);
}

TEST(what_a_head_says_is_kept_as_offsets) {
    const char *text = "DELETE /delete?key=a%20b&x HTTP/1.1\r\nHOST:  [::1]:9000 \r\nif-match: \"3.7\"\r\n"
                       "Content-Length: 12\r\n\r\nbody";
    struct outcome o = parse_whole(text, strlen(text));
    const uint8_t *base = (const uint8_t *)text;
    REQUIRE(o.result == HTTP_DONE);
    EQUAL(o.size, strlen(text) - 4);
    EQUAL(o.head.method, HTTP_DELETE);
    EQUAL(o.head.length, 12);
    OK(bytes_equal(http_text(o.head.path, base), bytes_of("/delete")));
    OK(bytes_equal(http_text(o.head.query, base), bytes_of("key=a%20b&x")));
    OK(bytes_equal(http_text(o.head.field[HTTP_HOST], base), bytes_of("[::1]:9000")));
    OK(bytes_equal(http_text(o.head.field[HTTP_IF_MATCH], base), bytes_of("\"3.7\"")));
    OK(!http_has(&o.head, HTTP_ORIGIN));
    OK(o.head.keep_alive);
}

TEST(connections_stay_open_as_version_and_header_say) {
    static const struct {
        const char *text;
        bool keep;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: x , close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: close\r\nConnection: keep-alive\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome o = parse_whole(cases[i].text, strlen(cases[i].text));
        EQUAL(o.result, HTTP_DONE);
        EQUAL(o.head.keep_alive, cases[i].keep);
    }
}

/* GET with so many bytes of target, of header value, and so many headers. */
static struct outcome parse_sized(size_t target, size_t value, size_t fields) {
    char *text = malloc(target + value + fields * 8 + 200), *at = text;
    at += sprintf(at, "GET /");
    memset(at, 'a', target - 1);
    at += target - 1;
    at += sprintf(at, " HTTP/1.1\r\nHost: a\r\n");
    for (size_t i = 1; i < fields; i++)
        at += sprintf(at, "X: 1\r\n");
    if (value > 0) {
        at += sprintf(at, "Y: ");
        memset(at, 'v', value);
        at += value;
        at += sprintf(at, "\r\n");
    }
    at += sprintf(at, "\r\n");
    struct outcome o = parse_whole(text, (size_t)(at - text));
    struct outcome bytewise = parse_bytewise(text, (size_t)(at - text));
    if (!same(&o, &bytewise))
        o.result = HTTP_MORE; /* no caller wants that */
    free(text);
    return o;
}

TEST(limits_hold_to_the_byte) {
    struct outcome o = parse_sized(HTTP_TARGET_SIZE_MAX, 0, 1);
    EQUAL(o.result, HTTP_DONE);
    o = parse_sized(HTTP_TARGET_SIZE_MAX + 1, 0, 1);
    EQUAL(o.result, HTTP_BAD);
    EQUAL(o.head.error, ERROR_HEADERS_TOO_LARGE);
    o = parse_sized(1, 0, HTTP_FIELDS_MAX);
    EQUAL(o.result, HTTP_DONE);
    o = parse_sized(1, 0, HTTP_FIELDS_MAX + 1);
    EQUAL(o.result, HTTP_BAD);
    EQUAL(o.head.error, ERROR_HEADERS_TOO_LARGE);
    size_t frame = parse_sized(1, 1, 1).size - 1;
    o = parse_sized(1, HTTP_HEAD_SIZE_MAX - frame, 1);
    EQUAL(o.result, HTTP_DONE);
    EQUAL(o.size, HTTP_HEAD_SIZE_MAX);
    o = parse_sized(1, HTTP_HEAD_SIZE_MAX - frame + 1, 1);
    EQUAL(o.result, HTTP_BAD);
    EQUAL(o.head.error, ERROR_HEADERS_TOO_LARGE);
}

TEST(an_endless_head_is_refused_without_its_end) {
    size_t size = HTTP_HEAD_SIZE_MAX;
    char *text = malloc(size);
    memset(text, 'G', size);
    struct outcome o = parse_whole(text, size - 1);
    EQUAL(o.result, HTTP_MORE);
    o = parse_whole(text, size);
    EQUAL(o.result, HTTP_BAD);
    EQUAL(o.head.error, ERROR_HEADERS_TOO_LARGE);
    free(text);
}

/* ---- chunked bodies ---- */

struct chunk_sample {
    const char *text, *body; /* body NULL: refused with error */
    enum error error;
};

static const struct chunk_sample chunk_samples[] = {
    {"0\r\n\r\n", "", 0},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"5\r\nhello\r\n00a\r\n, world\r\nx\r\n0\r\n\r\n", "hello, world\r\nx", 0},
    {"3;a=b; c=\"d\"\r\nabc\r\n0;x\r\n\r\n", "abc", 0},
    {"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\nX-A: b\r\nY:\r\n\r\n", "abc", 0},
    {"A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0},

    {"0x5\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"+5\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"-5\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {" 5\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"5 \r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {";a\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"g\r\n", NULL, ERROR_BAD_REQUEST},
    {"5\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"5\r\nhello\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"5\r\nhello!\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    /* One byte of the framing wrong, and all behind it as if that byte were right. */
    {"5\rXhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"4\r\nhellX\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"5\r\nhello\rX0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\nA: b\rX\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\n\rX", NULL, ERROR_BAD_REQUEST},
    {"10000000000000005\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"fffffffffffffff\r\nhello", NULL, ERROR_TOO_LARGE},
    {"41\r\nhello", NULL, ERROR_TOO_LARGE},
    {"3c\r\n012345678901234567890123456789012345678901234567890123456789\r\n5\r\n", NULL, ERROR_TOO_LARGE},
    {"5;a\x01\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"5;a\nb\r\nhello\r\n0\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\nX\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\n: a\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\nX : a\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\nX: a\x01\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\nX: a\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\n X: a\r\n\r\n", NULL, ERROR_BAD_REQUEST},
    {"0\r\nX: a\r\n\rX", NULL, ERROR_BAD_REQUEST},
    {"0\r\n\n", NULL, ERROR_BAD_REQUEST},
};

#define BODY_MAX 64

/* Feeds `piece` bytes at a time; what is behind the body must be left alone. */
static enum http_result decode(const char *text, size_t text_size, size_t piece, char *body,
                               size_t *body_size, enum error *error, size_t *consumed) {
    struct http_chunked c = {0};
    enum http_result result = HTTP_MORE;
    *body_size = *consumed = 0;
    for (size_t at = 0; at < text_size && result == HTTP_MORE; at += piece) {
        size_t size = text_size - at < piece ? text_size - at : piece, used;
        uint8_t *exact = malloc(size);
        memcpy(exact, text + at, size);
        result = http_chunked_decode(&c, exact, &size, &used, BODY_MAX);
        memcpy(body + *body_size, exact, size);
        *body_size += size;
        *consumed += used;
        free(exact);
    }
    *error = c.error;
    return result;
}

TEST(chunked_bodies_are_decoded_or_refused_in_pieces_of_every_size) {
    for (size_t i = 0; i < sizeof chunk_samples / sizeof chunk_samples[0]; i++) {
        const struct chunk_sample *s = &chunk_samples[i];
        char text[256], body[256];
        size_t size = strlen(s->text), body_size, consumed;
        memcpy(text, s->text, size);
        memcpy(text + size, "GET / HT", 8);
        for (size_t piece = 1; piece <= size + 8; piece++) {
            enum error error;
            enum http_result result =
                decode(text, s->body != NULL ? size + 8 : size, piece, body, &body_size, &error, &consumed);
            bool ok = s->body != NULL ? result == HTTP_DONE && body_size == strlen(s->body) &&
                                            memcmp(body, s->body, body_size) == 0 && consumed == size
                                      : result == HTTP_BAD && error == s->error;
            if (!ok) {
                OK(ok);
                printf("# chunked sample %zu in pieces of %zu: %s\n", i, piece, s->text);
            }
        }
    }
    OK(true);
}

TEST(a_prefix_of_a_chunked_body_wants_more_and_flipped_bits_do_no_harm) {
    for (size_t i = 0; i < sizeof chunk_samples / sizeof chunk_samples[0]; i++) {
        const char *text = chunk_samples[i].text;
        size_t size = strlen(text), body_size, consumed;
        char body[256], flipped[256];
        enum error error;
        if (chunk_samples[i].body != NULL)
            for (size_t cut = 0; cut < size; cut++)
                EQUAL(decode(text, cut, 3, body, &body_size, &error, &consumed), HTTP_MORE);
        for (size_t bit = 0; bit < size * 8; bit++) {
            size_t other_size, other_consumed;
            char other[256];
            memcpy(flipped, text, size);
            flipped[bit / 8] = (char)(flipped[bit / 8] ^ 1 << bit % 8);
            enum http_result whole = decode(flipped, size, size, body, &body_size, &error, &consumed);
            enum http_result pieces = decode(flipped, size, 1, other, &other_size, &error, &other_consumed);
            EQUAL(whole, pieces);
            OK(body_size <= BODY_MAX);
            if (whole != HTTP_BAD)
                EQUAL(body_size, other_size);
        }
    }
}

TEST(chunk_extensions_and_trailers_have_limits) {
    struct http_chunked c = {0};
    char *line = malloc(40000);
    size_t size, used;
    memset(line, 'e', 40000);
    memcpy(line, "1;", 2);
    size = 300;
    EQUAL(http_chunked_decode(&c, (uint8_t *)line, &size, &used, BODY_MAX), HTTP_BAD);
    c = (struct http_chunked){0};
    int chunks = 0;
    enum http_result result = HTTP_MORE;
    while (result == HTTP_MORE && chunks < 1000) {
        size = (size_t)sprintf(line, "1;%0200d\r\na\r\n", 1);
        result = http_chunked_decode(&c, (uint8_t *)line, &size, &used, 100000);
        chunks++;
    }
    EQUAL(result, HTTP_BAD);
    OK(chunks > 10 && chunks < 30);
    c = (struct http_chunked){0};
    memset(line, 't', 40000);
    memcpy(line, "0\r\nX:", 5);
    size = 40000;
    EQUAL(http_chunked_decode(&c, (uint8_t *)line, &size, &used, BODY_MAX), HTTP_BAD);
    EQUAL(c.error, ERROR_HEADERS_TOO_LARGE);
    free(line);
}

/* ---- escapes ---- */

static bool unescapes(const char *from, const char *to, size_t to_size) {
    size_t size = strlen(from);
    uint8_t *exact = malloc(size + 1);
    memcpy(exact, from, size);
    exact = realloc(exact, size > 0 ? size : 1);
    bool ok = http_unescape(exact, &size);
    bool equal = ok && to != NULL && size == to_size && memcmp(exact, to, size) == 0;
    free(exact);
    return to != NULL ? equal : !ok;
}

TEST(escapes_in_a_query_are_any_byte_and_never_half) {
    OK(unescapes("", "", 0));
    OK(unescapes("a%00b", "a\0b", 3)); /* bug 48 */
    OK(unescapes("%41%fF+%2B", "A\xff +", 4));
    OK(unescapes("%", NULL, 0));
    OK(unescapes("%4", NULL, 0));
    OK(unescapes("a%4g", NULL, 0));
    OK(unescapes("%g4", NULL, 0));
    OK(unescapes("%%41", NULL, 0));
    OK(unescapes("%+1", NULL, 0));
    OK(unescapes("%0x1", NULL, 0));
}

TESTS(TAP(each_sample_is_accepted_or_refused_as_it_should_be),
      TAP(every_split_of_a_head_gives_the_same_result), TAP(a_prefix_of_a_good_head_wants_more),
      TAP(flipped_bits_never_break_the_parser_and_splits_agree_on_them),
      TAP(what_a_head_says_is_kept_as_offsets), TAP(connections_stay_open_as_version_and_header_say),
      TAP(limits_hold_to_the_byte), TAP(an_endless_head_is_refused_without_its_end),
      TAP(chunked_bodies_are_decoded_or_refused_in_pieces_of_every_size),
      TAP(a_prefix_of_a_chunked_body_wants_more_and_flipped_bits_do_no_harm),
      TAP(chunk_extensions_and_trailers_have_limits), TAP(escapes_in_a_query_are_any_byte_and_never_half))
