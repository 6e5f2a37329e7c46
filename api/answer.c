/* The two hot answers are printed with one reservation and no formatting calls: their head has a bounded
 * size, and the body's size is known before (json_size). */
#include "api/answer.h"

#include "api/http.h"
#include "api/json_out.h"

#include <assert.h>

#define HEAD_SIZE_MAX 512 /* bytes: more than all headers below at their longest */
#define SIZE_UNKNOWN  SIZE_MAX

#define PUT(at, literal) (memcpy(at, literal, sizeof literal - 1), (at) + sizeof literal - 1)

static uint8_t *put_text(uint8_t *at, const char *text) {
    size_t size = strlen(text);
    memcpy(at, text, size);
    return at + size;
}

static uint8_t *put_number(uint8_t *at, uint64_t value) {
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    unsigned size = 1;
    for (uint64_t rest = value; rest >= 10; rest /= 10)
        size++;
    uint8_t *end = at + size, *to = end;
    for (; value >= 10; value /= 100)
        memcpy(to -= 2, pairs + value % 100 * 2, 2);
    if (to > at)
        *at = (uint8_t)('0' + value);
    return end;
}

static uint8_t *put_version(uint8_t *at, struct version version) {
    at = put_number(at, version.term);
    *at++ = '.';
    return put_number(at, version.index);
}

static uint8_t *put_status(uint8_t *at, struct manner manner, unsigned status) {
    if (manner.plain)
        return PUT(at, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    if (status == 200)
        return PUT(at, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
    at = PUT(at, "HTTP/1.1 ");
    at = put_number(at, status);
    *at++ = ' ';
    at = put_text(at, http_reason(status));
    return PUT(at, "\r\nContent-Type: application/json\r\n");
}

/* What a read or a write says beside its body. */
static uint8_t *put_receipt(uint8_t *at, const struct reply *reply) {
    const uint8_t *version = at;
    size_t size = 0;
    if (reply->version.index != 0) {
        version = at = PUT(at, "ETag: \"");
        at = put_version(at, reply->version);
        size = (size_t)(at - version);
        at = PUT(at, "\"\r\n");
    }
    if (reply->position.at.index != 0) {
        at = PUT(at, "KV-Position: ");
        at = put_number(at, reply->position.group);
        *at++ = ':';
        bool same = size > 0 && version_equal(reply->version, reply->position.at);
        at = same ? mempcpy(at, version, size) : put_version(at, reply->position.at);
        at = PUT(at, "\r\n");
    }
    if (reply->voters != 0) {
        at = PUT(at, "KV-Acks: ");
        at = put_number(at, reply->acks);
        *at++ = '/';
        at = put_number(at, reply->voters);
        at = PUT(at, "\r\n");
    }
    if (reply->follower) {
        at = PUT(at, "KV-Staleness-Ms: ");
        at = reply->staleness_known ? put_number(at, reply->staleness_ms) : PUT(at, "unknown");
        at = PUT(at, "\r\n");
    }
    if (reply->degraded)
        at = PUT(at, "KV-Degraded: no-majority\r\n");
    if (reply->retry_after_s != 0) {
        at = PUT(at, "Retry-After: ");
        at = put_number(at, reply->retry_after_s);
        at = PUT(at, "\r\n");
    }
    return at;
}

static uint8_t *put_speaker(uint8_t *at, const struct speaker *speaker, const struct reply *reply) {
    bool own = reply->node[0] == 0;
    at = PUT(at, "KV-Node: ");
    memcpy(at, own ? speaker->node : reply->node, NODE_ID_SIZE);
    at += NODE_ID_SIZE;
    at = PUT(at, "\r\nKV-Group: ");
    at = put_number(at, own ? speaker->group : reply->group);
    return PUT(at, "\r\n");
}

static uint8_t *put_rest(uint8_t *at, struct manner manner, const struct speaker *speaker,
                         const struct reply *reply) {
    at = put_receipt(at, reply);
    at = put_speaker(at, speaker, reply);
    if (manner.close)
        at = PUT(at, "Connection: close\r\n");
    else if (manner.old)
        at = PUT(at, "Connection: keep-alive\r\n");
    return at;
}

static uint8_t *put_head(uint8_t *at, struct manner manner, const struct speaker *speaker,
                         const struct reply *reply, unsigned status, size_t size) {
    at = put_status(at, manner, status);
    if (size != SIZE_UNKNOWN) {
        at = PUT(at, "Content-Length: ");
        at = put_number(at, size);
        at = PUT(at, "\r\n");
    } else if (!manner.old) {
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    }
    return put_rest(at, manner, speaker, reply);
}

/* The last member of a body that is otherwise whole. */
#define EXPLAIN_NAME ",\"explain\":"

static size_t explain_size(const struct reply *reply) {
    return reply->explain.size > 0 ? sizeof EXPLAIN_NAME - 1 + reply->explain.size : 0;
}

static uint8_t *put_explain(uint8_t *at, const struct reply *reply) {
    if (reply->explain.size == 0)
        return at;
    at = PUT(at, EXPLAIN_NAME);
    memcpy(at, reply->explain.data, reply->explain.size);
    return at + reply->explain.size;
}

static void commit(struct buffer *out, const uint8_t *end) {
    size_t size = (size_t)(end - (out->data + out->end));
    assert(size <= out->capacity - out->end);
    buffer_grow(out, size);
}

static void answer_not_utf8(struct buffer *out, struct manner manner, const struct speaker *speaker,
                            const struct reply *reply) {
    struct reply conflict = *reply;
    conflict.error = ERROR_CONFLICT;
    conflict.message = bytes_of("The key or its value is not UTF-8, so that JSON cannot hold it.");
    conflict.fix = bytes_of("Raw values (/kv/:key) are not built yet: set the key to UTF-8 text.");
    answer_error(out, manner, speaker, &conflict, NULL);
}

void answer_get(struct buffer *out, struct manner manner, const struct speaker *speaker,
                const struct reply *reply, struct bytes key) {
    size_t key_size = json_size(key), value_size = json_size(reply->value);
    if (key_size == JSON_NOT_UTF8 || value_size == JSON_NOT_UTF8) {
        answer_not_utf8(out, manner, speaker, reply);
        return;
    }
    size_t size = key_size + value_size + sizeof "{'key':'','value':''}" - 1 + explain_size(reply);
    uint8_t *at = buffer_reserve(out, HEAD_SIZE_MAX + size);
    at = put_head(at, manner, speaker, reply, 200, size);
    at = PUT(at, "\r\n");
    if (!manner.head_only) {
        at = PUT(at, "{\"key\":\"");
        at = json_put(at, key, key_size);
        at = PUT(at, "\",\"value\":\"");
        at = json_put(at, reply->value, value_size);
        at = PUT(at, "\"");
        at = put_explain(at, reply);
        at = PUT(at, "}");
    }
    commit(out, at);
}

void answer_unchanged(struct buffer *out, struct manner manner, const struct speaker *speaker,
                      const struct reply *reply) {
    uint8_t *at = buffer_reserve(out, HEAD_SIZE_MAX);
    at = PUT(at, "HTTP/1.1 304 Not Modified\r\n");
    at = put_rest(at, manner, speaker, reply);
    at = PUT(at, "\r\n");
    commit(out, at);
}

void answer_done(struct buffer *out, struct manner manner, const struct speaker *speaker,
                 const struct reply *reply, struct bytes key) {
    size_t key_size = json_size(key);
    assert(key_size != JSON_NOT_UTF8); /* writes of such keys are refused */
    size_t size = key_size + sizeof "{'status':'ok','key':''}" - 1 + explain_size(reply);
    uint8_t *at = buffer_reserve(out, HEAD_SIZE_MAX + size);
    at = put_head(at, manner, speaker, reply, 200, size);
    at = PUT(at, "\r\n{\"status\":\"ok\",\"key\":\"");
    at = json_put(at, key, key_size);
    at = PUT(at, "\"");
    at = put_explain(at, reply);
    at = PUT(at, "}");
    commit(out, at);
}

static const char *outcome_text(enum outcome outcome) {
    switch (outcome) {
    case OUTCOME_PENDING:
        return "pending";
    case OUTCOME_DONE:
    case OUTCOME_FAILED:
        return "committed";
    case OUTCOME_NONE:
    case OUTCOME_UNKNOWN:
    case OUTCOME_COUNT:
        break;
    }
    return "unknown";
}

void answer_outcome(struct buffer *out, struct manner manner, const struct speaker *speaker,
                    const struct reply *reply) {
    uint8_t body[160], *at = PUT(body, "{\"outcome\":\"");
    at = put_text(at, outcome_text(reply->outcome));
    *at++ = '"';
    if (reply->position.at.index != 0) {
        at = PUT(at, ",\"position\":\"");
        at = put_number(at, reply->position.group);
        *at++ = ':';
        at = put_version(at, reply->position.at);
        *at++ = '"';
    }
    if (reply->outcome == OUTCOME_DONE)
        at = PUT(at, ",\"result\":\"ok\"");
    else if (reply->outcome == OUTCOME_FAILED)
        at = PUT(at, ",\"result\":\"precondition_failed\"");
    *at++ = '}';
    answer_json(out, manner, speaker, reply, (struct bytes){body, (size_t)(at - body)});
}

static void error_body(struct buffer *body, struct manner manner, const struct reply *reply) {
    const struct error_row *row = error_row(reply->error);
    struct buffer fix = {0};
    assert(row != NULL);
    buffer_append_text(body, "{\"error\":\"");
    buffer_append_text(body, row->name);
    buffer_append_text(body, "\",\"message\":");
    json_append(body, reply->message.size > 0 ? reply->message : bytes_of(row->message));
    buffer_append_text(body, ",\"fix\":");
    if (manner.writes && (error_passes(reply->error) || reply->error == ERROR_DEADLINE))
        buffer_append_text(&fix, "Nothing was written. ");
    buffer_append(&fix, reply->fix.size > 0 ? reply->fix : bytes_of(row->fix));
    json_append(body, buffer_bytes(&fix));
    buffer_release(&fix);
    if (reply->explain.size > 0) {
        buffer_append_text(body, EXPLAIN_NAME);
        buffer_append(body, reply->explain);
    }
    buffer_append_text(body, "}");
}

static bool wants_retry_after(enum error error) {
    return error == ERROR_OVERLOAD || error == ERROR_NO_LEADER;
}

/* header: one more, without its end; or NULL. */
static void answer_refusal(struct buffer *out, struct manner manner, const struct speaker *speaker,
                           const struct reply *reply, const char *header, struct bytes text) {
    struct buffer body = {0};
    struct reply said = *reply;
    if (said.retry_after_s == 0 && wants_retry_after(said.error))
        said.retry_after_s = 1;
    error_body(&body, manner, reply);
    size_t size = buffer_size(&body);
    uint8_t *at = buffer_reserve(out, HEAD_SIZE_MAX + text.size + size);
    at = put_head(at, manner, speaker, &said, error_row(reply->error)->status, size);
    if (header != NULL) {
        at = put_text(at, header);
        memcpy(at, text.data, text.size);
        at = PUT(at + text.size, "\r\n");
    }
    at = PUT(at, "\r\n");
    commit(out, at);
    if (!manner.head_only)
        buffer_append(out, buffer_bytes(&body));
    buffer_release(&body);
}

void answer_error(struct buffer *out, struct manner manner, const struct speaker *speaker,
                  const struct reply *reply, const char *allow) {
    answer_refusal(out, manner, speaker, reply, allow != NULL ? "Allow: " : NULL,
                   bytes_of(allow != NULL ? allow : ""));
}

void answer_redirect(struct buffer *out, struct manner manner, const struct speaker *speaker,
                     const struct reply *reply, const char *authority, struct bytes target) {
    struct buffer location = {0};
    buffer_append_text(&location, "http://");
    buffer_append_text(&location, authority);
    buffer_append(&location, target);
    answer_refusal(out, manner, speaker, reply, "Location: ", buffer_bytes(&location));
    buffer_release(&location);
}

void answer_json(struct buffer *out, struct manner manner, const struct speaker *speaker,
                 const struct reply *reply, struct bytes body) {
    uint8_t *at = buffer_reserve(out, HEAD_SIZE_MAX + body.size);
    at = put_head(at, manner, speaker, reply, 200, body.size);
    at = PUT(at, "\r\n");
    commit(out, at);
    if (!manner.head_only)
        buffer_append(out, body);
}

void answer_stream(struct buffer *out, struct manner manner, const struct speaker *speaker,
                   const struct reply *reply) {
    uint8_t *at = buffer_reserve(out, HEAD_SIZE_MAX);
    at = put_head(at, manner, speaker, reply, 200, SIZE_UNKNOWN);
    at = PUT(at, "\r\n");
    commit(out, at);
}
