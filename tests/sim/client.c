#include "tests/sim/client.h"

#include <inttypes.h>
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
    buffer_release(&client->body);
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

static void read_error(struct response *response) {
    char body[256];
    snprintf(body, sizeof body, "%.*s", (int)response->body.size, (const char *)response->body.data);
    const char *at = header(body, "\"error\":\"");
    if (at != NULL)
        sscanf(at, "%31[a-z_]", response->error);
}

static void read_headers(struct response *response, const char *head) {
    const char *at;
    if ((at = header(head, "\r\nETag: \"")) != NULL)
        response->etag = read_version(at);
    if ((at = header(head, "\r\nKV-Position: ")) != NULL && sscanf(at, "%u:", &response->group) == 1)
        response->position = read_version(strchr(at, ':') + 1);
    if ((at = header(head, "\r\nKV-Acks: ")) != NULL)
        sscanf(at, "%u/%u", &response->acks, &response->voters);
    if ((at = header(head, "\r\nKV-Staleness-Ms: ")) != NULL) {
        response->follower = true;
        response->staleness_known = sscanf(at, "%" SCNu64, &response->staleness_ms) == 1;
    }
    if ((at = header(head, "\r\nKV-Node: ")) != NULL)
        sscanf(at, "%16[A-Za-z0-9_-]", response->node);
    response->degraded = header(head, "\r\nKV-Degraded: no-majority\r\n") != NULL;
    if ((at = header(head, "\r\nKV-Group: ")) != NULL)
        response->grouped = sscanf(at, "%u", &response->node_group) == 1;
    if (response->status < 300)
        return;
    if ((at = header(head, "\r\nRetry-After: ")) != NULL)
        response->retry_after_s = (unsigned)strtoul(at, NULL, 10);
    if ((at = header(head, "\r\nLocation: ")) != NULL)
        sscanf(at, "%127[^\r]", response->location);
}

/* Takes the chunks at text apart, into body where it is not NULL. The size of them all; 0 while they are not
 * whole. */
static size_t read_chunks(const char *text, size_t size, struct buffer *body, unsigned *chunks) {
    *chunks = 0;
    for (size_t at = 0;;) {
        const char *line = memmem(text + at, size - at, "\r\n", 2);
        if (line == NULL)
            return 0;
        size_t chunk = strtoul(text + at, NULL, 16), from = (size_t)(line - text) + 2;
        if (from + chunk + 2 > size)
            return 0;
        if (body != NULL)
            buffer_append(body, (struct bytes){(const uint8_t *)text + from, chunk});
        at = from + chunk + 2;
        if (chunk == 0)
            return at;
        ++*chunks;
    }
}

/* The size of the whole answer at the front of what was received; 0 while it is not whole. */
static size_t parse(struct client *client, struct response *response) {
    buffer_append(&client->received, (struct bytes){(const uint8_t *)"", 1});
    client->received.end--;
    const char *text = (const char *)client->received.data + client->received.start;
    size_t size = buffer_size(&client->received), body_size = 0;
    const char *end = strstr(text, HEAD_END), *at;
    if (size == 0 || end == NULL)
        return 0;
    char head[1024];
    snprintf(head, sizeof head, "%.*s\r\n", (int)(end - text), text);
    size_t head_size = (size_t)(end - text) + strlen(HEAD_END);
    *response = (struct response){.status = (unsigned)strtoul(text + strlen("HTTP/1.1 "), NULL, 10)};
    if (header(head, "\r\nTransfer-Encoding: chunked") != NULL) {
        buffer_clear(&client->body);
        body_size = read_chunks(text + head_size, size - head_size, &client->body, &response->chunks);
        if (body_size == 0)
            return 0;
        response->body = buffer_bytes(&client->body);
    } else {
        at = header(head, "\r\nContent-Length: ");
        body_size = at == NULL ? 0 : strtoul(at, NULL, 10);
        if (size < head_size + body_size)
            return 0;
        response->body = (struct bytes){(const uint8_t *)text + head_size, body_size};
    }
    read_headers(response, head);
    if (response->status >= 400)
        read_error(response);
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
            client->machine->answered++;
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

static void drained(struct sim *sim, struct event *event) {
    struct client *client = event->object;
    struct machine *m = event->machine;
    (void)sim;
    if (event->number == client->generation && client->connection != NULL) {
        sim_client_turn(client);
        machine_touch(m);
    }
    sim_event_free(event);
}

/* There is more to come of what does not go out at once: a listing's next slice. */
static void turn_again(struct client *client) {
    struct event *event = machine_at(client->machine, arrival(client, 1), drained);
    event->object = client;
    event->number = client->generation;
}

void sim_client_turn(struct client *client) {
    struct api_client *connection = client->connection;
    struct sim *sim = client->sim;
    api_process(connection, machine_ms(client->machine));
    if (machine_is_dark(client->machine))
        return;
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
        if (buffer_size(out) > 0)
            turn_again(client);
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
    machine->asked++;
    if (client->sim->weather.split && bytes.size > 1) {
        size_t size = 1 + (size_t)sim_below(client->sim, STREAM_NETWORK, bytes.size - 1);
        send_piece(client, (struct bytes){bytes.data, size});
        bytes = (struct bytes){bytes.data + size, bytes.size - size};
    }
    send_piece(client, bytes);
}
