/* The HTTP parser and the chunk decoder: a stream split anywhere reads as the same stream in one piece. */
#include "api/http.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
    enum http_result result;
    struct http_head head;
    size_t size;
};

/* splits NULL: in one piece. */
static struct outcome parse(struct bytes text, const struct script *splits) {
    struct outcome o = {.result = HTTP_MORE};
    struct script s = splits != NULL ? *splits : (struct script){NULL, NULL};
    size_t there = 0;
    do {
        size_t more = splits != NULL && script_left(&s) > 0 ? take_u8(&s) : text.size;
        there = more < text.size - there ? there + more : text.size;
        uint8_t *copy = exact((struct bytes){text.data, there});
        o.result = http_parse_head(&o.head, (struct bytes){copy, there}, &o.size);
        free(copy);
    } while (o.result == HTTP_MORE && there < text.size);
    return o;
}

static void same_slice(struct http_slice a, struct http_slice b, size_t size) {
    MUST(a.at == b.at && a.size == b.size && (size_t)a.at + a.size <= size);
}

static void compare(const struct outcome *a, const struct outcome *b) {
    MUST(a->result == b->result);
    if (a->result == HTTP_BAD) {
        MUST(a->head.error == b->head.error && a->head.message != NULL && a->head.message == b->head.message);
    } else if (a->result == HTTP_DONE) {
        MUST(a->size == b->size && a->head.method == b->head.method && a->head.minor == b->head.minor);
        MUST(a->head.keep_alive == b->head.keep_alive && a->head.close == b->head.close &&
             a->head.expect == b->head.expect && a->head.has_length == b->head.has_length &&
             a->head.length == b->head.length && a->head.present == b->head.present &&
             a->head.has_transfer_encoding == b->head.has_transfer_encoding);
        same_slice(a->head.path, b->head.path, a->size);
        same_slice(a->head.query, b->head.query, a->size);
        same_slice(a->head.authority, b->head.authority, a->size);
        for (int i = 0; i < HTTP_FIELD_COUNT; i++)
            if (a->head.present & 1u << i)
                same_slice(a->head.field[i], b->head.field[i], a->size);
    }
}

struct decoded {
    enum http_result result;
    enum error error;
    struct buffer body;
    size_t used;
};

static struct decoded decode(struct bytes text, const struct script *splits) {
    struct decoded d = {.result = HTTP_MORE};
    struct http_chunked chunked = {0};
    struct script s = splits != NULL ? *splits : (struct script){NULL, NULL};
    while (d.result == HTTP_MORE && d.used < text.size) {
        size_t size = splits != NULL && script_left(&s) > 0 ? 1 + (size_t)take_u8(&s) : text.size, used = 0;
        if (size > text.size - d.used)
            size = text.size - d.used;
        size_t given = size;
        uint8_t *piece = exact((struct bytes){text.data + d.used, size});
        d.result = http_chunked_decode(&chunked, piece, &size, &used, 4096);
        MUST(size <= used && used <= given && (d.result != HTTP_MORE || used == given));
        buffer_append(&d.body, (struct bytes){piece, size});
        d.used += used;
        free(piece);
    }
    d.error = chunked.error;
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = script_of(data, size);
    struct bytes split = take_sized(&s), text = {s.at, script_left(&s)};
    struct script splits = script_of(split.data, split.size);
    struct outcome whole = parse(text, NULL), pieces = parse(text, &splits);
    compare(&whole, &pieces);
    struct bytes body =
        whole.result == HTTP_DONE ? (struct bytes){text.data + whole.size, text.size - whole.size} : text;
    struct decoded one = decode(body, NULL), many = decode(body, &splits);
    MUST(one.result == many.result && one.error == many.error);
    MUST(one.result == HTTP_BAD ||
         (one.used == many.used && bytes_equal(buffer_bytes(&one.body), buffer_bytes(&many.body))));
    MUST(buffer_size(&one.body) <= 4096 || one.result == HTTP_BAD);
    buffer_release(&one.body);
    buffer_release(&many.body);
    return 0;
}
