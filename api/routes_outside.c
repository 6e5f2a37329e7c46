/* How the node is, as seen from outside: /health, /metrics, /rejected, /log-level. They show this node and no
 * other.
 */
#include "api/json_in.h"
#include "api/json_out.h"
#include "api/route.h"

#include <inttypes.h>
#include <stdio.h>

#define REJECTED_LIMIT_DEFAULT 1000
/* Bytes of an answer, before it ends early and names what is next. */
#define REJECTED_SIZE_MAX (4u * 1024 * 1024)

static bool refuse_absent(struct call *call) {
    return refuse(&call->why, ERROR_NOT_BUILT, "This node does not have the route.");
}

/* ---- health ---- */

static bool answer_not_ready(struct call *call, const struct health_view *view) {
    struct api_client *client = call->client;
    struct reply reply = {
        .error = ERROR_NOT_READY, .message = bytes_of(view->reason), .fix = bytes_of(view->fix)};
    struct speaker speaker = client_speaker(client);
    struct manner manner = client_manner(client);
    struct buffer *out = client_answer_begin(client);
    answer_error(out, manner, &speaker, &reply, NULL);
    client_answer_end(client, out, ERROR_NOT_READY);
    return true;
}

static void append_text(struct buffer *out, const char *name, const char *text) {
    if (text[0] == '\0')
        return;
    buffer_append_text(out, name);
    json_append(out, bytes_of(text));
}

/* What is not there where all is well stands behind what always is. */
static void print_health(const struct health_view *view, size_t rejected, struct buffer *out) {
    char text[200];
    snprintf(text, sizeof text, "{\"status\":\"%s\",\"role\":\"%s\",\"group\":%u,\"keys\":%llu", view->status,
             view->role, view->group, (unsigned long long)view->keys);
    buffer_append_text(out, text);
    snprintf(text, sizeof text, ",\"rejected\":%zu", rejected);
    if (rejected > 0)
        buffer_append_text(out, text);
    if (view->reason[0] != '\0')
        buffer_append_text(out, view->ready ? ",\"ready\":true" : ",\"ready\":false");
    append_text(out, ",\"reason\":", view->reason);
    append_text(out, ",\"fix\":", view->fix);
    buffer_append_text(out, "}");
}

bool run_health(struct call *call) {
    const struct api_options *options = &call->client->api->options;
    bool asks_ready = parameter_has(&call->parameters, PARAMETER_READY);
    struct health_view view;
    struct buffer body = {0};
    if (asks_ready && !bytes_equal(call->parameters.value[PARAMETER_READY], bytes_of("1")))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "ready is 1, or left out.");
    if (options->host.health == NULL)
        return refuse_absent(call);
    options->host.health(options->host.arg, call->now_ms, &view);
    if (asks_ready && !view.ready)
        return answer_not_ready(call, &view);
    size_t rejected = options->replica == NULL ? 0 : ledger_count(replica_ledger(options->replica));
    print_health(&view, rejected, &body);
    route_answer(call, &body, false);
    return true;
}

/* ---- metrics ---- */

bool run_metrics(struct call *call) {
    struct api *api = call->client->api;
    struct buffer body = {0};
    if (api->options.host.metrics == NULL)
        return refuse_absent(call);
    api_metrics(api, &body);
    api->options.host.metrics(api->options.host.arg, call->now_ms, &body);
    route_answer(call, &body, true);
    return true;
}

/* ---- the ledger of rejected writes ---- */

static void append_base64(struct buffer *out, struct bytes bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buffer_append_text(out, "\"");
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t three = (uint32_t)bytes.data[i] << 16 | (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                         (left > 2 ? bytes.data[i + 2] : 0);
        char text[5] = {digits[three >> 18], digits[three >> 12 & 63],
                        left > 1 ? digits[three >> 6 & 63] : '=', left > 2 ? digits[three & 63] : '=', '\0'};
        buffer_append_text(out, text);
    }
    buffer_append_text(out, "\"");
}

/* "name":"text", or "name_base64":"..." where JSON cannot hold it. */
static void append_field(struct buffer *out, const char *name, struct bytes bytes) {
    bool text = json_size(bytes) != JSON_NOT_UTF8;
    buffer_append_text(out, "\"");
    buffer_append_text(out, name);
    buffer_append_text(out, text ? "\":" : "_base64\":");
    if (text)
        json_append(out, bytes);
    else
        append_base64(out, bytes);
}

static void append_condition(struct buffer *out, const struct entry *entry) {
    char text[96];
    switch (entry->condition) {
    case CONDITION_NONE:
        return;
    case CONDITION_ABSENT:
        buffer_append_text(out, ",\"if_none_match\":\"*\"");
        return;
    case CONDITION_EXISTS:
        buffer_append_text(out, ",\"if_match\":\"*\"");
        return;
    case CONDITION_MATCH:
        snprintf(text, sizeof text, ",\"if_match\":\"%" PRIu64 ".%" PRIu64 "\"", entry->match.term,
                 entry->match.index);
        buffer_append_text(out, text);
        return;
    }
}

static void append_row(struct buffer *out, const struct ledger_row *row, const struct entry *entry,
                       uint32_t group) {
    char text[240];
    buffer_append_text(out, "{");
    append_field(out, "key", entry->key);
    buffer_append_text(out, row->type == ENTRY_PUT ? ",\"operation\":\"set\"," : ",\"operation\":\"delete\"");
    if (row->type == ENTRY_PUT)
        append_field(out, "value", entry->value);
    append_condition(out, entry);
    snprintf(text, sizeof text,
             ",\"position\":\"%" PRIu32 ":%" PRIu64 ".%" PRIu64 "\",\"recorded_ms\":%" PRIu64
             ",\"by_term\":%" PRIu64 ",\"state\":\"%s\",\"answered\":\"%s\"}",
             group, row->at.term, row->at.index, row->recorded_ms, row->by_term,
             row->state == LEDGER_OVERRULED ? "overruled" : "rejected", row->answered ? "yes" : "unknown");
    buffer_append_text(out, text);
}

/* False where the row cannot be read back from the disk. */
static bool list_row(struct ledger *l, size_t position, uint32_t group, struct buffer *out) {
    struct buffer payload = {0};
    struct entry entry;
    bool ok = ledger_read(l, position, &payload) == FILE_OK && entry_decode(buffer_bytes(&payload), &entry);
    if (ok)
        append_row(out, ledger_at(l, position), &entry, group);
    buffer_release(&payload);
    return ok;
}

/* The rows' group id is the group's, once it has one: a directory never changes it. */
static uint64_t group_id_of(struct ledger *l) {
    return ledger_count(l) > 0 ? ledger_at(l, 0)->group_id : 0;
}

static bool list_rows(struct call *call, struct ledger *l, size_t from, uint64_t limit, struct buffer *body) {
    uint32_t group = coordinator_self(call->client->api->options.coordinator)->group;
    size_t at = from;
    char text[120];
    buffer_append_text(body, "{\"rejected\":[");
    for (; at < ledger_count(l) && at - from < limit && buffer_size(body) < REJECTED_SIZE_MAX; at++) {
        if (at > from)
            buffer_append_text(body, ",");
        if (!list_row(l, at, group, body))
            return refuse(&call->why, ERROR_CONFLICT, "The ledger cannot be read back from the disk.");
    }
    snprintf(text, sizeof text, "],\"count\":%zu,\"total\":%zu", at - from, ledger_count(l));
    buffer_append_text(body, text);
    if (at < ledger_count(l) && at > from) {
        struct version last = ledger_at(l, at - 1)->at;
        snprintf(text, sizeof text, ",\"next\":\"%" PRIu32 ":%" PRIu64 ".%" PRIu64 "\"", group, last.term,
                 last.index);
        buffer_append_text(body, text);
    }
    buffer_append_text(body, "}");
    return true;
}

static bool check_position(struct call *call, struct bytes text, struct position *out) {
    uint32_t group = coordinator_self(call->client->api->options.coordinator)->group;
    if (!parameter_position(text, out))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "A position is <group>:<term>.<index>.");
    if (out->group != group)
        return refuse(&call->why, ERROR_BAD_PARAMETER, "This node is of group %" PRIu32 ", not %" PRIu32 ".",
                      group, out->group);
    return true;
}

bool run_rejected(struct call *call) {
    struct replica *replica = call->client->api->options.replica;
    const struct parameters *p = &call->parameters;
    uint64_t limit = REJECTED_LIMIT_DEFAULT;
    struct position after = {0};
    if (replica == NULL)
        return refuse_absent(call);
    if (parameter_has(p, PARAMETER_LIMIT) && !parameter_number(p->value[PARAMETER_LIMIT], UINT32_MAX, &limit))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "limit is a whole number from 1 to 4294967295.");
    if (parameter_has(p, PARAMETER_AFTER) && !check_position(call, p->value[PARAMETER_AFTER], &after))
        return false;
    struct ledger *l = replica_rejected(replica);
    struct version next = {after.at.term + 1, after.at.index};
    size_t from = after.at.index == 0 ? 0 : ledger_find(l, group_id_of(l), next);
    struct buffer body = {0};
    if (!list_rows(call, l, from, limit, &body)) {
        buffer_release(&body);
        return false;
    }
    route_answer(call, &body, false);
    return true;
}

/* The one string that a body holds under this name, and nothing else. */
static bool read_string(struct call *call, const char *wanted, struct bytes *out) {
    struct json j = json_of(call->base + call->client->head_size, call->client->body_size);
    struct bytes name;
    *out = (struct bytes){0};
    for (json_open_object(&j); json_next_member(&j, &name);) {
        if (!bytes_equal(name, bytes_of(wanted)))
            return refuse_naming(&call->why, ERROR_BAD_JSON, "The route does not know the field", name);
        if (out->data != NULL)
            return refuse_naming(&call->why, ERROR_BAD_JSON, "There is more than one field", name);
        *out = json_string(&j);
    }
    json_end(&j);
    if (!json_ok(&j))
        return refuse(&call->why, ERROR_BAD_JSON, "The body is not the JSON that the route takes: %s.",
                      j.error);
    return out->data != NULL || refuse(&call->why, ERROR_BAD_JSON, "The field `%s` is missing.", wanted);
}

bool run_rejected_drop(struct call *call) {
    struct replica *replica = call->client->api->options.replica;
    struct position position;
    struct bytes text;
    if (replica == NULL)
        return refuse_absent(call);
    if (!read_string(call, "position", &text) || !check_position(call, text, &position))
        return false;
    struct ledger *l = replica_rejected(replica);
    size_t at = ledger_find(l, group_id_of(l), position.at);
    if (at == ledger_count(l) || !version_equal(ledger_at(l, at)->at, position.at))
        return refuse(&call->why, ERROR_NOT_FOUND, "The ledger has no row of this position.");
    switch (replica_rejected_drop(replica, at)) {
    case FILE_OK:
        break;
    case FILE_NO_SPACE:
        return refuse(&call->why, ERROR_DISK_FULL, "The node's disk is full; the row is still there.");
    default:
        refuse(&call->why, ERROR_OUTCOME_UNKNOWN, "The node's disk failed; the row may still be there.");
        call->why.fix = "Once the node runs again, GET /rejected there shows whether it has the row.";
        return false;
    }
    struct buffer body = {0};
    buffer_append_text(&body, "{\"status\":\"ok\",\"position\":");
    json_append(&body, text);
    buffer_append_text(&body, "}");
    route_answer(call, &body, false);
    return true;
}

/* ---- the log's level ---- */

bool run_log_level(struct call *call) {
    const struct api_host *host = &call->client->api->options.host;
    struct bytes level;
    struct buffer body = {0};
    if (host->level == NULL || host->set_level == NULL)
        return refuse_absent(call);
    if (call->client->head.method == HTTP_POST) {
        if (!read_string(call, "level", &level))
            return false;
        if (!host->set_level(host->arg, level))
            return refuse(&call->why, ERROR_BAD_PARAMETER, "level is debug, info, notice, warning or error.");
    }
    buffer_append_text(&body, "{\"level\":");
    json_append(&body, bytes_of(host->level(host->arg)));
    buffer_append_text(&body, "}");
    route_answer(call, &body, false);
    return true;
}
