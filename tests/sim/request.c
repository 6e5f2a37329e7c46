/* Requests as a client writes them. */
#include "tests/sim/client.h"

#define HOST "Host: 10.0.0.1\r\n"

static void end_text(struct buffer *out) {
    buffer_append(out, (struct bytes){(const uint8_t *)"", 1});
}

void request_set(struct buffer *out, const char *key, const char *value, const char *ack,
                 struct version match) {
    char head[512], condition[80] = "";
    if (match.index > 0)
        snprintf(condition, sizeof condition, "If-Match: \"%llu.%llu\"\r\n", (unsigned long long)match.term,
                 (unsigned long long)match.index);
    size_t size = strlen("{\"key\":\"\",\"value\":\"\"}") + strlen(key) + strlen(value);
    snprintf(head, sizeof head,
             "POST /set%s%s HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
             "%sContent-Length: %zu\r\n\r\n",
             ack != NULL ? "?ack=" : "", ack != NULL ? ack : "", condition, size);
    buffer_append_text(out, head);
    buffer_append_text(out, "{\"key\":\"");
    buffer_append_text(out, key);
    buffer_append_text(out, "\",\"value\":\"");
    buffer_append_text(out, value);
    buffer_append_text(out, "\"}");
    end_text(out);
}

void request_members(struct buffer *out, const char *change, const uint8_t id[NODE_ID_SIZE],
                     const struct address *address) {
    char text[512], body[160], at[ADDRESS_TEXT_MAX];
    int size = snprintf(body, sizeof body, "{\"id\":\"%.*s\"", NODE_ID_SIZE, (const char *)id);
    if (strcmp(change, "join") == 0)
        size += snprintf(body + size, sizeof body - (size_t)size, ",\"address\":\"%s\"",
                         address_text(address, at));
    snprintf(body + size, sizeof body - (size_t)size, "}");
    snprintf(text, sizeof text,
             "POST /cluster/%s HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             change, strlen(body), body);
    buffer_append_text(out, text);
    end_text(out);
}

void request_drop(struct buffer *out, uint32_t group, struct version row) {
    char text[256], body[96];
    snprintf(body, sizeof body, "{\"position\":\"%u:%llu.%llu\"}", group, (unsigned long long)row.term,
             (unsigned long long)row.index);
    snprintf(text, sizeof text,
             "POST /rejected/drop HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    buffer_append_text(out, text);
    end_text(out);
}

void request_delete(struct buffer *out, const char *key, const char *ack) {
    char text[256];
    snprintf(text, sizeof text, "DELETE /delete?key=%s%s%s HTTP/1.1\r\n" HOST "\r\n", key,
             ack != NULL ? "&ack=" : "", ack != NULL ? ack : "");
    buffer_append_text(out, text);
    end_text(out);
}

static void ask_route(struct buffer *out, const char *route) {
    buffer_append_text(out, "GET ");
    buffer_append_text(out, route);
    buffer_append_text(out, " HTTP/1.1\r\n" HOST "\r\n");
    end_text(out);
}

void request_get(struct buffer *out, const char *key, bool linearizable) {
    char route[128];
    snprintf(route, sizeof route, "/get?key=%s%s", key, linearizable ? "&consistency=linearizable" : "");
    ask_route(out, route);
}

void request_keys(struct buffer *out, const char *after, uint64_t limit, bool linearizable) {
    char route[128];
    snprintf(route, sizeof route, "/keys?prefix=k%s%s", after != NULL ? "&after=" : "",
             after != NULL ? after : "");
    if (limit > 0)
        snprintf(route + strlen(route), sizeof route - strlen(route), "&limit=%llu",
                 (unsigned long long)limit);
    if (linearizable)
        snprintf(route + strlen(route), sizeof route - strlen(route), "&consistency=linearizable");
    ask_route(out, route);
}

void request_after(struct buffer *out, const char *key, const char *position) {
    char line[96];
    request_get(out, key, false);
    snprintf(line, sizeof line, "KV-After: 0:%s", position);
    request_header(out, line);
}

void request_outcome(struct buffer *out, const char *key, size_t number) {
    char route[128];
    snprintf(route, sizeof route, "/outcome?client=sim&request=r%zu&key=%s", number, key);
    ask_route(out, route);
}

void request_health(struct buffer *out, bool ready) {
    ask_route(out, ready ? "/health?ready=1" : "/health");
}

void request_header(struct buffer *request, const char *line) {
    struct buffer whole = {0};
    const char *text = (const char *)request->data + request->start, *rest = strstr(text, "\r\n") + 2;
    buffer_append(&whole, (struct bytes){(const uint8_t *)text, (size_t)(rest - text)});
    buffer_append_text(&whole, line);
    buffer_append_text(&whole, "\r\n");
    buffer_append(&whole, (struct bytes){(const uint8_t *)rest, strlen(rest) + 1});
    buffer_release(request);
    *request = whole;
}

void request_pair(struct buffer *request, size_t number) {
    char line[40];
    snprintf(line, sizeof line, "KV-Request: r%zu", number);
    request_header(request, line);
    request_header(request, "KV-Client: sim");
}
