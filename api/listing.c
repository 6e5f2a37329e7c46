#include "api/listing.h"

#include "api/json_out.h"
#include "api/keys_slice.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>

struct listing {
    struct manner manner;
    struct buffer prefix, after;
    uint64_t limit, count;
    bool begun;
    bool gathers, linearizable;
    struct position position;
    bool more; /* the slice ended before the keys did */
    struct buffer slice;
};

struct listing *listing_new(struct manner manner, struct bytes prefix, struct bytes after, uint64_t limit) {
    struct listing *l = calloc(1, sizeof *l);
    if (l == NULL)
        err(1, "out of memory for a listing");
    l->manner = manner;
    l->limit = limit == 0 ? UINT64_MAX : limit;
    buffer_append(&l->prefix, prefix);
    buffer_append(&l->after, after);
    return l;
}

void listing_free(struct listing *l) {
    if (l == NULL)
        return;
    buffer_release(&l->prefix);
    buffer_release(&l->after);
    buffer_release(&l->slice);
    free(l);
}

struct manner listing_manner(const struct listing *l) {
    return l->manner;
}

static void append_key(struct listing *l, struct bytes key) {
    if (l->count > 0)
        buffer_append_text(&l->slice, ",");
    json_append(&l->slice, key);
    l->count++;
    buffer_clear(&l->after);
    buffer_append(&l->after, key);
}

static bool each_key(void *arg, struct bytes key) {
    struct listing *l = arg;
    if (buffer_size(&l->slice) >= LISTING_SLICE_SIZE) {
        l->more = true;
        return false;
    }
    append_key(l, key);
    return l->count < l->limit;
}

/* Listing a key changes `after`, which the scan goes on looking at: it gets one of its own. */
static void scanned(struct listing *l, struct coordinator *c) {
    struct buffer after = {0};
    buffer_append(&after, buffer_bytes(&l->after));
    coordinator_scan(c, buffer_bytes(&l->prefix), buffer_bytes(&after), each_key, l);
    buffer_release(&after);
}

static void gathered(struct listing *l, struct bytes keys) {
    struct keys_slice slice = keys_slice_of(keys);
    struct bytes key;
    while (l->count < l->limit && keys_slice_next(&slice, &key))
        append_key(l, key);
    l->more = slice.more && l->count < l->limit;
}

void listing_gather(struct listing *l, bool linearizable, struct position position) {
    l->position = position;
    l->gathers = true;
    l->linearizable = linearizable;
}

bool listing_gathers(const struct listing *l) {
    return l->gathers;
}

void listing_ask(const struct listing *l, struct coordinator *c, uint64_t now_ms, uint64_t ticket) {
    struct keys_request request = {
        .prefix = buffer_bytes(&l->prefix),
        .after = buffer_bytes(&l->after),
        .limit = l->limit - l->count,
        .linearizable = l->linearizable,
        .position = l->position,
        .deadline_ms = now_ms + LISTING_DEADLINE_MS,
    };
    coordinator_keys(c, now_ms, &request, ticket);
}

bool listing_cut(struct listing *l) {
    if (!l->begun)
        return false;
    l->manner.close = true;
    return true;
}

static void append_chunk(struct listing *l, struct buffer *out, bool last) {
    char size[20];
    if (l->manner.head_only)
        return;
    if (!l->manner.old) {
        snprintf(size, sizeof size, "%zx\r\n", buffer_size(&l->slice));
        buffer_append_text(out, size);
    }
    buffer_append(out, buffer_bytes(&l->slice));
    if (!l->manner.old)
        buffer_append_text(out, last ? "\r\n0\r\n\r\n" : "\r\n");
}

bool listing_step(struct listing *l, struct coordinator *c, const struct speaker *speaker,
                  const struct reply *reply, struct buffer *out) {
    char tail[40];
    buffer_clear(&l->slice);
    if (!l->begun)
        buffer_append_text(&l->slice, "{\"keys\":[");
    l->more = false;
    if (l->gathers)
        gathered(l, reply->value);
    else
        scanned(l, c);
    if (!l->more) {
        snprintf(tail, sizeof tail, "],\"count\":%llu}", (unsigned long long)l->count);
        buffer_append_text(&l->slice, tail);
    }
    if (!l->begun && !l->more) {
        answer_json(out, l->manner, speaker, reply, buffer_bytes(&l->slice));
        return true;
    }
    if (!l->begun) {
        l->manner.close = l->manner.close || l->manner.old;
        answer_stream(out, l->manner, speaker, reply);
    }
    l->begun = true;
    append_chunk(l, out, !l->more);
    return !l->more || l->manner.head_only;
}
