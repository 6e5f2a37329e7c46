/* The HTTP server's core: the same requests, split anywhere and with answers that come late, get the same
 * answers. */
#include "api/api.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/api/mock_coordinator.h"

#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

struct run {
    struct coordinator *c;
    struct api *api;
    struct api_client *client;
    uint64_t now_ms;
    struct buffer answers;
    bool backwards; /* late answers come in the opposite order */
};

static void begin(struct run *r, uint8_t flags) {
    static const char *const hosts[] = {"kv.example", NULL};
    *r = (struct run){.c = mock_new(), .now_ms = 1000, .backwards = flags & 4};
    r->c->hold_writes = flags & 1;
    r->c->hold_reads = flags & 2;
    mock_set(r->c, bytes_of("a"), bytes_of("1"));
    mock_set(r->c, bytes_of("b\xff"), bytes_of("\x80\x81"));
    struct api_options options = {.coordinator = r->c, .allow_hosts = hosts};
    r->api = api_new(&options);
    r->client = api_open(r->api, r->now_ms, r);
}

static void end(struct run *r) {
    api_close(r->client, r->now_ms);
    api_free(r->api);
    mock_free(r->c);
    buffer_release(&r->answers);
}

/* All that is under way is answered and written; true when something moved. */
static bool turn(struct run *r) {
    bool moved = false;
    while (r->c->held_count > 0) {
        size_t place = r->backwards ? r->c->held_count - 1 : 0;
        uint64_t ticket = r->c->held[place];
        memmove(&r->c->held[place], &r->c->held[place + 1], (--r->c->held_count - place) * sizeof ticket);
        struct reply reply = r->c->base;
        reply.version = (struct version){3, 7};
        reply.value = bytes_of("late");
        api_reply(r->api, ticket, &reply);
        moved = true;
    }
    struct api_client *ready;
    while ((ready = api_next_ready(r->api)) != NULL) {
        MUST(ready == r->client);
        moved = true;
    }
    struct buffer *out = api_output(r->client);
    if (buffer_size(out) > 0) {
        buffer_append(&r->answers, buffer_bytes(out));
        buffer_consume(out, buffer_size(out));
        moved = true;
    }
    return moved;
}

static void settle(struct run *r) {
    do
        api_process(r->client, r->now_ms);
    while (turn(r));
}

/* A connection is not read from while the core does not want it, and no more once it is to be closed. */
static void feed(struct run *r, struct bytes text, struct script splits, bool split) {
    size_t fed = 0;
    while (fed < text.size && !api_wants_close(r->client)) {
        size_t size = split && script_left(&splits) > 0 ? 1 + (size_t)take_u8(&splits) : text.size;
        if (size > text.size - fed)
            size = text.size - fed;
        MUST(api_wants_input(r->client));
        buffer_append(api_input(r->client), (struct bytes){text.data + fed, size});
        fed += size;
        settle(r);
    }
}

/* An interim answer is sent only where the body was still to come. */
static void without_continue(struct buffer *answers) {
    size_t size = strlen(CONTINUE), left = buffer_size(answers);
    struct buffer kept = {0};
    while (left > 0) {
        const uint8_t *from = buffer_bytes(answers).data;
        const uint8_t *at = memmem(from, left, CONTINUE, size);
        buffer_append(&kept, (struct bytes){from, at != NULL ? (size_t)(at - from) : left});
        buffer_consume(answers, at != NULL ? (size_t)(at - from) + size : left);
        left = buffer_size(answers);
    }
    buffer_release(answers);
    *answers = kept;
}

static void same_answers(uint8_t flags, struct bytes text, struct script splits) {
    struct run whole, pieces;
    begin(&whole, flags);
    begin(&pieces, flags);
    feed(&whole, text, splits, false);
    feed(&pieces, text, splits, true);
    MUST(api_wants_close(whole.client) == api_wants_close(pieces.client));
    api_input_ended(whole.client);
    api_input_ended(pieces.client);
    settle(&whole);
    settle(&pieces);
    without_continue(&whole.answers);
    without_continue(&pieces.answers);
    if (!bytes_equal(buffer_bytes(&whole.answers), buffer_bytes(&pieces.answers)))
        fprintf(stderr, "%.*s\n---- in pieces:\n%.*s\n", (int)buffer_size(&whole.answers),
                (const char *)buffer_bytes(&whole.answers).data, (int)buffer_size(&pieces.answers),
                (const char *)buffer_bytes(&pieces.answers).data);
    MUST(bytes_equal(buffer_bytes(&whole.answers), buffer_bytes(&pieces.answers)));
    MUST(whole.c->submitted == pieces.c->submitted);
    end(&whole);
    end(&pieces);
}

/* Time passes between the pieces, answers are read now and then, some never come. */
static void slowly(uint8_t flags, struct bytes text, struct script splits) {
    struct run r;
    begin(&r, flags);
    for (size_t fed = 0; fed < text.size && !api_wants_close(r.client);) {
        uint8_t step = take_u8(&splits);
        size_t size = 1 + (size_t)(step & 31);
        if (size > text.size - fed)
            size = text.size - fed;
        buffer_append(api_input(r.client), (struct bytes){text.data + fed, size});
        fed += size;
        api_process(r.client, r.now_ms);
        if (step & 32)
            turn(&r);
        r.now_ms += step & 64 ? 1000 : 1;
        api_tick(r.api, r.now_ms);
    }
    if (flags & 8)
        api_drain(r.api);
    for (int i = 0; i < 70 && !api_wants_close(r.client); i++) {
        r.now_ms += 1000;
        api_tick(r.api, r.now_ms);
        turn(&r);
        api_process(r.client, r.now_ms);
    }
    MUST(r.c->held_count > 0 || api_wants_close(r.client));
    end(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = script_of(data, size);
    uint8_t flags = take_u8(&s);
    struct bytes split = take_sized(&s), text = {s.at, script_left(&s)};
    struct script splits = script_of(split.data, split.size);
    same_answers(flags, text, splits);
    slowly(flags, text, splits);
    return 0;
}
