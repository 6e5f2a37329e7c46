/* The codec of consensus messages. PROTOCOL.md, "Consensus messages", draws them. */
#include "replication/message.h"

#include <assert.h>

static void write_version(struct buffer *out, struct version version) {
    write_u64(out, version.term);
    write_u64(out, version.index);
}

static uint64_t read_bounded(struct reader *r, uint64_t max) {
    uint64_t value = read_u64(r);
    if (value > max)
        r->failed = true;
    return value;
}

static uint64_t read_index(struct reader *r) {
    return read_bounded(r, MESSAGE_INDEX_MAX);
}

static struct version read_version(struct reader *r) {
    uint64_t term = read_bounded(r, MESSAGE_TERM_MAX);
    return (struct version){.term = term, .index = read_index(r)};
}

static void write_flags(struct buffer *out, bool first, bool second) {
    write_u8(out, (uint8_t)(first | second << 1));
}

/* An unknown flag fails the reader. */
static void read_flags(struct reader *r, bool *first, bool *second) {
    uint8_t flags = read_u8(r);
    if (flags > (second != NULL ? 3 : 1))
        r->failed = true;
    *first = flags & 1;
    if (second != NULL)
        *second = flags & 2;
}

/* The append's has three. */
static void read_append_flags(struct reader *r, struct message *out) {
    uint8_t flags = read_u8(r);
    if (flags > 7)
        r->failed = true;
    out->append.alone = flags & 1;
    out->append.unequal = flags & 2;
    out->append.agrees = flags & 4;
}

static void encode_append(struct buffer *out, const struct message *m) {
    assert(m->append.records.size <= MESSAGE_RECORDS_MAX);
    write_version(out, m->append.previous);
    write_u64(out, m->append.commit);
    write_u64(out, m->append.read);
    write_u64(out, m->append.echo.asked);
    write_u64(out, m->append.echo.index);
    write_u8(out, (uint8_t)(m->append.alone | m->append.unequal << 1 | m->append.agrees << 2));
    write_u64(out, m->append.compare);
    write_u64(out, m->append.odd);
    buffer_append(out, m->append.records);
}

static void encode_append_reply(struct buffer *out, const struct message *m) {
    write_flags(out, m->append_reply.success, false);
    write_u64(out, m->append_reply.match);
    write_u64(out, m->append_reply.durable);
    write_u64(out, m->append_reply.read);
    write_u64(out, m->append_reply.asked);
    write_version(out, m->append_reply.hint);
    write_u64(out, m->append_reply.last);
    write_u64(out, m->append_reply.compared);
    write_u64(out, m->append_reply.digest);
    write_u64(out, m->append_reply.odd);
}

static void encode_snapshot(struct buffer *out, const struct message *m) {
    assert(m->snapshot.chunk.size <= MESSAGE_CHUNK_SIZE);
    write_version(out, m->snapshot.at);
    write_u64(out, m->snapshot.offset);
    write_u64(out, m->snapshot.total);
    write_u64(out, m->snapshot.odd);
    buffer_append(out, m->snapshot.chunk);
}

void message_encode(struct buffer *out, const struct message *m) {
    write_u8(out, (uint8_t)m->type);
    write_u64(out, m->term);
    switch (m->type) {
    case MESSAGE_VOTE:
        write_version(out, m->vote.last);
        write_flags(out, m->vote.pre, m->vote.transfer);
        break;
    case MESSAGE_VOTE_REPLY:
        write_flags(out, m->vote_reply.granted, m->vote_reply.pre);
        break;
    case MESSAGE_APPEND:
        encode_append(out, m);
        break;
    case MESSAGE_APPEND_REPLY:
        encode_append_reply(out, m);
        break;
    case MESSAGE_SNAPSHOT:
        encode_snapshot(out, m);
        break;
    case MESSAGE_SNAPSHOT_REPLY:
        write_version(out, m->snapshot_reply.at);
        write_u64(out, m->snapshot_reply.offset);
        write_u64(out, m->snapshot_reply.odd);
        write_flags(out, m->snapshot_reply.installed, m->snapshot_reply.refused);
        break;
    case MESSAGE_TIMEOUT_NOW:
        break;
    case MESSAGE_READ_INDEX:
        write_u64(out, m->read_index.id);
        break;
    case MESSAGE_READ_INDEX_REPLY:
        write_u64(out, m->read_index.id);
        write_flags(out, m->read_index.ok, false);
        write_u64(out, m->read_index.index);
        break;
    case MESSAGE_REMOVED:
        write_u64(out, m->removed.index);
        break;
    }
}

static bool decode_append(struct reader *r, struct message *out) {
    out->append.previous = read_version(r);
    out->append.commit = read_index(r);
    out->append.read = read_u64(r);
    out->append.echo.asked = read_u64(r);
    out->append.echo.index = read_index(r);
    read_append_flags(r, out);
    out->append.compare = read_index(r);
    out->append.odd = read_u64(r);
    out->append.records = read_rest(r);
    return out->append.records.size <= MESSAGE_RECORDS_MAX;
}

static bool decode_append_reply(struct reader *r, struct message *out) {
    read_flags(r, &out->append_reply.success, NULL);
    out->append_reply.match = read_index(r);
    out->append_reply.durable = read_index(r);
    out->append_reply.read = read_u64(r);
    out->append_reply.asked = read_u64(r);
    out->append_reply.hint = read_version(r);
    out->append_reply.last = read_index(r);
    out->append_reply.compared = read_index(r);
    out->append_reply.digest = read_u64(r);
    out->append_reply.odd = read_u64(r);
    return true;
}

static bool decode_snapshot(struct reader *r, struct message *out) {
    out->snapshot.at = read_version(r);
    out->snapshot.offset = read_u64(r);
    out->snapshot.total = read_bounded(r, MESSAGE_SNAPSHOT_MAX);
    out->snapshot.odd = read_u64(r);
    out->snapshot.chunk = read_rest(r);
    return out->snapshot.at.term <= out->term && out->snapshot.at.index > 0 &&
           out->snapshot.chunk.size <= MESSAGE_CHUNK_SIZE && out->snapshot.offset <= out->snapshot.total &&
           out->snapshot.chunk.size <= out->snapshot.total - out->snapshot.offset;
}

static bool decode_body(struct reader *r, struct message *out) {
    switch (out->type) {
    case MESSAGE_VOTE:
        out->vote.last = read_version(r);
        read_flags(r, &out->vote.pre, &out->vote.transfer);
        return true;
    case MESSAGE_VOTE_REPLY:
        read_flags(r, &out->vote_reply.granted, &out->vote_reply.pre);
        return true;
    case MESSAGE_APPEND:
        return decode_append(r, out);
    case MESSAGE_APPEND_REPLY:
        return decode_append_reply(r, out);
    case MESSAGE_SNAPSHOT:
        return decode_snapshot(r, out);
    case MESSAGE_SNAPSHOT_REPLY:
        out->snapshot_reply.at = read_version(r);
        out->snapshot_reply.offset = read_u64(r);
        out->snapshot_reply.odd = read_u64(r);
        read_flags(r, &out->snapshot_reply.installed, &out->snapshot_reply.refused);
        return true;
    case MESSAGE_TIMEOUT_NOW:
        return true;
    case MESSAGE_READ_INDEX:
        out->read_index.id = read_u64(r);
        return true;
    case MESSAGE_READ_INDEX_REPLY:
        out->read_index.id = read_u64(r);
        read_flags(r, &out->read_index.ok, NULL);
        out->read_index.index = read_index(r);
        return true;
    case MESSAGE_REMOVED:
        out->removed.index = read_index(r);
        return true;
    }
    return false;
}

bool message_decode(struct bytes payload, struct message *out) {
    struct reader r = reader_of(payload);
    memset(out, 0, sizeof *out);
    uint8_t type = read_u8(&r);
    out->term = read_bounded(&r, MESSAGE_TERM_MAX);
    if (type < MESSAGE_VOTE || type > MESSAGE_REMOVED)
        return false;
    out->type = (enum message_type)type;
    return decode_body(&r, out) && reader_done(&r);
}
