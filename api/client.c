/* The ring of places, and the answers printed into it or past it. */
#include "api/client.h"

#include "api/routes.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- places ---- */

struct place *client_place(const struct api_client *client, uint32_t sequence) {
    return &client->places[sequence & (client->places_capacity - 1)];
}

void client_free_places(struct api_client *client) {
    for (uint32_t i = 0; i < client->places_capacity; i++) {
        buffer_release(&client->places[i].key);
        buffer_release(&client->places[i].answer);
    }
    free(client->places);
    client->places = NULL;
    client->places_capacity = 0;
}

static void grow_places(struct api_client *client) {
    uint32_t capacity = client->places_capacity == 0 ? 4 : client->places_capacity * 2;
    struct place *places = calloc(capacity, sizeof *places);
    if (places == NULL)
        err(1, "out of memory for a client's requests");
    for (uint32_t s = client->first; s != client->next; s++)
        places[s & (capacity - 1)] = *client_place(client, s);
    free(client->places);
    client->places = places;
    client->places_capacity = capacity;
}

static struct place *take_place(struct api_client *client) {
    if (client_under_way(client) == client->places_capacity)
        grow_places(client);
    struct place *place = client_place(client, client->next++);
    place->ready = false;
    place->manner = client_manner(client);
    place->asked = client->asked;
    return place;
}

/* ---- answers ---- */

struct manner client_manner(const struct api_client *client) {
    const struct http_head *head = &client->head;
    return (struct manner){.head_only = head->method == HTTP_HEAD,
                           .close = !head->keep_alive || client->api->draining,
                           .old = head->minor == 0,
                           .writes = head->method == HTTP_POST || head->method == HTTP_DELETE,
                           .unless = client->unless};
}

struct speaker client_speaker(const struct api_client *client) {
    const struct node_info *self = coordinator_self(client->api->options.coordinator);
    return (struct speaker){self->id, self->group};
}

uint64_t client_ticket(const struct api_client *client) {
    return (uint64_t)client->slot << (GENERATION_BITS + SEQUENCE_BITS) |
           (uint64_t)client->generation << SEQUENCE_BITS | (client->next & MASK(SEQUENCE_BITS));
}

struct buffer *client_answer_begin(struct api_client *client) {
    if (client_under_way(client) == 0)
        return &client->output;
    struct place *place = take_place(client);
    place->ready = true;
    return &place->answer;
}

void client_answer_end(struct api_client *client, struct buffer *answer, enum error error) {
    client_count(client->api, &client->asked, error, NULL);
    if (answer != &client->output)
        client->waiting += buffer_size(answer);
}

void client_wait(struct api_client *client, enum operation operation, struct bytes key) {
    struct place *place = take_place(client);
    place->operation = operation;
    buffer_clear(&place->key);
    buffer_append(&place->key, key);
}

/* Where the time of a slow request went, as far as it is known: ": 3 ms waiting for a leader, ...". What a
 * node that it was passed on to did meanwhile is in that node's log. */
static void print_timing(const struct timing *t, char *out, size_t size) {
    static const char *const steps[TIMING_STEPS] = {
        [TIMING_WAITED] = "waiting for a leader",
        [TIMING_PASSED_ON] = "passed on and waiting for the answer",
        [TIMING_DURABLE] = "from append to durable here",
        [TIMING_ACKNOWLEDGED] = "from there to acknowledged",
        [TIMING_ANSWERED] = "from there to applied and answered",
        [TIMING_CONFIRMED] = "confirming and reading",
    };
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < TIMING_STEPS && used < size; i++)
        if ((t->known & 1u << i) != 0)
            used += (size_t)snprintf(out + used, size - used, "%s%u ms %s", used == 0 ? ": " : ", ", t->ms[i],
                                     steps[i]);
    if (t->node[0] != 0 && used < size)
        snprintf(out + used, size - used, " (node %.*s)", NODE_ID_SIZE, (const char *)t->node);
}

static void log_request(struct api *api, const struct asked *asked, unsigned status, uint64_t us, bool slow,
                        const struct timing *timing) {
    static const char *const methods[] = {
        [HTTP_OTHER] = "other", [HTTP_GET] = "GET",       [HTTP_HEAD] = "HEAD",      [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",     [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};
    char text[480], steps[320] = "";
    if (timing != NULL)
        print_timing(timing, steps, sizeof steps);
    snprintf(text, sizeof text, "%s %s: status %u after %llu.%03llu ms%s", methods[asked->method],
             routes_name(asked->route), status, (unsigned long long)(us / 1000),
             (unsigned long long)(us % 1000), steps);
    api->options.host.request(api->options.host.arg, slow, text);
}

void client_count(struct api *api, const struct asked *asked, enum error error, const struct timing *timing) {
    struct metrics *m = &api->metrics;
    metrics_request(m, asked->route, error, asked->started_us);
    uint64_t us = m->now_us > asked->started_us ? m->now_us - asked->started_us : 0;
    bool slow = api->options.slow_ms > 0 && us >= api->options.slow_ms * 1000ull;
    m->slow += slow;
    if ((slow || api->log_requests) && api->options.host.request != NULL)
        log_request(api, asked, error_row(error)->status, us, slow, timing);
}

static bool unless_holds(const struct unless *unless, struct version version) {
    unsigned i = 0;
    while (i < unless->count && !version_equal(unless->versions[i], version))
        i++;
    return unless->any || i < unless->count;
}

enum error client_result(const struct manner *manner, enum operation operation, const struct reply *reply) {
    bool reads = operation == OPERATION_GET && reply->error == ERROR_NONE && reply->version.index != 0;
    return reads && unless_holds(&manner->unless, reply->version) ? ERROR_NOT_MODIFIED : reply->error;
}

void client_print(struct api_client *client, struct buffer *out, struct manner manner,
                  enum operation operation, const struct reply *reply, struct bytes key) {
    struct speaker speaker = client_speaker(client);
    if (reply->error != ERROR_NONE)
        answer_error(out, manner, &speaker, reply, NULL);
    else if (client_result(&manner, operation, reply) == ERROR_NOT_MODIFIED)
        answer_unchanged(out, manner, &speaker, reply);
    else if (operation_of_members(operation))
        answer_json(out, manner, &speaker, reply, reply->value);
    else if (operation == OPERATION_GET)
        answer_get(out, manner, &speaker, reply, key);
    else if (operation == OPERATION_OUTCOME)
        answer_outcome(out, manner, &speaker, reply);
    else
        answer_done(out, manner, &speaker, reply, key);
}

void client_refuse(struct api_client *client, const struct refusal *why, const char *allow) {
    struct speaker speaker = client_speaker(client);
    struct reply reply = {.error = why->error, .message = bytes_of(why->message)};
    reply.fix = bytes_of(why->fix != NULL ? why->fix : "");
    struct buffer *out = client_answer_begin(client);
    answer_error(out, client_manner(client), &speaker, &reply, allow);
    client_answer_end(client, out, why->error);
}

void client_release_ready(struct api_client *client) {
    while (client_under_way(client) > 0 && client_place(client, client->first)->ready) {
        struct place *place = client_place(client, client->first++);
        client->waiting -= buffer_size(&place->answer);
        buffer_append(&client->output, buffer_bytes(&place->answer));
        buffer_clear(&place->answer);
        buffer_trim(&place->answer, 4096);
    }
}
