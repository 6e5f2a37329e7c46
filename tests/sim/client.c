#include "tests/sim/client.h"

#include <stdlib.h>

#define HEAD_END "\r\n\r\n"

void sim_client_init(struct client *client, struct sim *sim,
                     void (*answered)(void *arg, struct client *client, const struct response *response),
                     void *arg) {
    *client = (struct client){.sim = sim, .answered = answered, .arg = arg};
}

static void unlist(struct client *client) {
    if (client->listed)
        TAILQ_REMOVE(&client->machine->clients, client, next);
    client->listed = false;
    client->connection = NULL;
    client->generation++;
    buffer_clear(&client->received);
}

static void disconnect(struct client *client) {
    if (client->connection != NULL)
        api_close(client->connection, machine_ms(client->machine));
    unlist(client);
}

void sim_client_release(struct client *client) {
    disconnect(client);
    buffer_release(&client->received);
}

static void answer(struct client *client, const struct response *response) {
    if (!client->waiting)
        return;
    client->waiting = false;
    client->answered(client->arg, client, response);
}

static void broken(struct sim *sim, struct event *event) {
    static const struct response none;
    struct client *client = event->object;
    bool stale = event->number != client->generation;
    (void)sim;
    sim_event_free(event);
    if (!stale)
        answer(client, &none);
}

static void break_later(struct client *client) {
    struct sim *sim = client->sim;
    struct event *event = sim_at(sim, sim->now_us + 1 * MS, broken, NULL);
    event->object = client;
    event->number = client->generation;
}

void clients_broken(struct machine *m) {
    struct client *client;
    while ((client = TAILQ_FIRST(&m->clients)) != NULL) {
        disconnect(client);
        if (client->waiting)
            break_later(client);
    }
}

void sim_client_give_up(struct client *client) {
    client->waiting = false;
    disconnect(client);
}

/* Answers. */

static struct version read_version(const char *text) {
    unsigned long long term, index;
    if (sscanf(text, "%llu.%llu", &term, &index) != 2)
        return (struct version){0, 0};
    return (struct version){term, index};
}

static const char *header(const char *head, const char *name) {
    const char *at = strstr(head, name);
    return at == NULL ? NULL : at + strlen(name);
}

static void read_error(struct response *response, const char *body) {
    const char *at = strstr(body, "\"error\":\"");
    if (at != NULL)
        sscanf(at + strlen("\"error\":\""), "%31[a-z_]", response->error);
}

/* The size of the whole answer at the front of what was received; 0 while it is not whole. */
static size_t parse(struct client *client, struct response *response) {
    buffer_append(&client->received, (struct bytes){(const uint8_t *)"", 1});
    client->received.end--;
    const char *text = (const char *)client->received.data + client->received.start;
    size_t size = buffer_size(&client->received);
    const char *end = strstr(text, HEAD_END), *at;
    if (size == 0 || end == NULL)
        return 0;
    char head[1024];
    snprintf(head, sizeof head, "%.*s\r\n", (int)(end - text), text);
    size_t head_size = (size_t)(end - text) + strlen(HEAD_END);
    at = header(head, "\r\nContent-Length: ");
    size_t body_size = at == NULL ? 0 : strtoul(at, NULL, 10);
    if (size < head_size + body_size)
        return 0;
    *response = (struct response){.body = {(const uint8_t *)text + head_size, body_size}};
    response->status = (unsigned)strtoul(text + strlen("HTTP/1.1 "), NULL, 10);
    if ((at = header(head, "\r\nETag: \"")) != NULL)
        response->etag = read_version(at);
    if ((at = header(head, "\r\nKV-Position: 0:")) != NULL)
        response->position = read_version(at);
    response->degraded = header(head, "\r\nKV-Degraded: ") != NULL;
    if (response->status >= 400)
        read_error(response, text + head_size);
    return head_size + body_size;
}

static void answer_arrives(struct sim *sim, struct event *event) {
    struct client *client = event->object;
    bool stale = event->number != client->generation;
    (void)sim;
    if (!stale) {
        struct response response;
        buffer_append(&client->received, (struct bytes){event->data, event->size});
        size_t size = parse(client, &response);
        if (size > 0) {
            answer(client, &response);
            if (event->number == client->generation)
                buffer_consume(&client->received, size);
        }
    }
    sim_event_free(event);
}

/* Later than what was sent in this direction before. */
static uint64_t arrival(struct client *client, unsigned direction) {
    struct sim *sim = client->sim;
    uint64_t at = sim->now_us + sim_between(sim, STREAM_NETWORK, 20, 300);
    if (at < client->last_us[direction])
        at = client->last_us[direction];
    return client->last_us[direction] = at;
}

static void end_arrives(struct sim *sim, struct event *event) {
    struct client *client = event->object;
    static const struct response none;
    bool stale = event->number != client->generation;
    (void)sim;
    sim_event_free(event);
    if (stale)
        return;
    disconnect(client);
    answer(client, &none);
}

void sim_client_turn(struct client *client) {
    struct api_client *connection = client->connection;
    struct sim *sim = client->sim;
    api_process(connection, machine_ms(client->machine));
    struct buffer *out = api_output(connection);
    if (client->keeps)
        return;
    if (buffer_size(out) > 0) {
        struct event *event = sim_at(sim, arrival(client, 1), answer_arrives, NULL);
        event->object = client;
        event->number = client->generation;
        event_data(event, buffer_bytes(out));
        buffer_consume(out, buffer_size(out));
        api_process(connection, machine_ms(client->machine));
    }
    if (!api_wants_close(connection))
        return;
    api_close(connection, machine_ms(client->machine));
    client->connection = NULL;
    struct event *event = sim_at(sim, arrival(client, 1), end_arrives, NULL);
    event->object = client;
    event->number = client->generation;
}

/* Questions. */

static void request_arrives(struct sim *sim, struct event *event) {
    struct client *client = event->object;
    struct machine *m = event->machine;
    (void)sim;
    if (event->number == client->generation && client->connection != NULL) {
        buffer_append(api_input(client->connection), (struct bytes){event->data, event->size});
        sim_client_turn(client);
        machine_touch(m);
    }
    sim_event_free(event);
}

static bool connect_to(struct client *client, struct machine *machine) {
    disconnect(client);
    client->machine = machine;
    if (machine->node == NULL)
        return false;
    client->connection = api_open(node_api(machine->node), machine_ms(machine), client);
    if (client->connection == NULL)
        return false;
    client->listed = true;
    TAILQ_INSERT_TAIL(&machine->clients, client, next);
    return true;
}

static void send_piece(struct client *client, struct bytes piece) {
    struct event *event = machine_at(client->machine, arrival(client, 0), request_arrives);
    event->object = client;
    event->number = client->generation;
    event_data(event, piece);
}

void sim_client_ask(struct client *client, struct machine *machine, const char *request) {
    struct bytes bytes = bytes_of(request);
    client->waiting = true;
    if ((client->connection == NULL || client->machine != machine) && !connect_to(client, machine)) {
        break_later(client);
        return;
    }
    if (client->sim->weather.split && bytes.size > 1) {
        size_t size = 1 + (size_t)sim_below(client->sim, STREAM_NETWORK, bytes.size - 1);
        send_piece(client, (struct bytes){bytes.data, size});
        bytes = (struct bytes){bytes.data + size, bytes.size - size};
    }
    send_piece(client, bytes);
}

void request_set(struct buffer *out, const char *key, const char *value, const char *ack,
                 struct version match) {
    char head[512], condition[80] = "";
    if (match.index > 0)
        snprintf(condition, sizeof condition, "If-Match: \"%llu.%llu\"\r\n", (unsigned long long)match.term,
                 (unsigned long long)match.index);
    size_t size = strlen("{\"key\":\"\",\"value\":\"\"}") + strlen(key) + strlen(value);
    snprintf(head, sizeof head,
             "POST /set%s%s HTTP/1.1\r\nHost: 10.0.0.1\r\nContent-Type: application/json\r\n"
             "%sContent-Length: %zu\r\n\r\n",
             ack != NULL ? "?ack=" : "", ack != NULL ? ack : "", condition, size);
    buffer_append_text(out, head);
    buffer_append_text(out, "{\"key\":\"");
    buffer_append_text(out, key);
    buffer_append_text(out, "\",\"value\":\"");
    buffer_append_text(out, value);
    buffer_append_text(out, "\"}");
    buffer_append(out, (struct bytes){(const uint8_t *)"", 1});
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
             "POST /cluster/%s HTTP/1.1\r\nHost: 10.0.0.1\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             change, strlen(body), body);
    buffer_append_text(out, text);
    buffer_append(out, (struct bytes){(const uint8_t *)"", 1});
}

void request_delete(struct buffer *out, const char *key, const char *ack) {
    char text[256];
    snprintf(text, sizeof text, "DELETE /delete?key=%s%s%s HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", key,
             ack != NULL ? "&ack=" : "", ack != NULL ? ack : "");
    buffer_append_text(out, text);
    buffer_append(out, (struct bytes){(const uint8_t *)"", 1});
}

void request_get(struct buffer *out, const char *key, bool linearizable) {
    char text[256];
    snprintf(text, sizeof text, "GET /get?key=%s%s HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", key,
             linearizable ? "&consistency=linearizable" : "");
    buffer_append_text(out, text);
    buffer_append(out, (struct bytes){(const uint8_t *)"", 1});
}

void request_after(struct buffer *out, const char *key, const char *position) {
    char text[256];
    snprintf(text, sizeof text, "GET /get?key=%s HTTP/1.1\r\nHost: 10.0.0.1\r\nKV-After: 0:%s\r\n\r\n", key,
             position);
    buffer_append_text(out, text);
    buffer_append(out, (struct bytes){(const uint8_t *)"", 1});
}

void request_outcome(struct buffer *out, const char *key, size_t number) {
    char text[256];
    snprintf(text, sizeof text,
             "GET /outcome?client=sim&request=r%zu&key=%s HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", number, key);
    buffer_append_text(out, text);
    buffer_append(out, (struct bytes){(const uint8_t *)"", 1});
}

void request_pair(struct buffer *request, size_t number) {
    struct buffer whole = {0};
    char lines[80];
    const char *text = (const char *)request->data + request->start, *rest = strstr(text, "\r\n") + 2;
    snprintf(lines, sizeof lines, "KV-Client: sim\r\nKV-Request: r%zu\r\n", number);
    buffer_append(&whole, (struct bytes){(const uint8_t *)text, (size_t)(rest - text)});
    buffer_append_text(&whole, lines);
    buffer_append(&whole, (struct bytes){(const uint8_t *)rest, strlen(rest) + 1});
    buffer_release(request);
    *request = whole;
}
