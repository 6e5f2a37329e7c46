/* Clients, their requests and deadlines. A request goes through the states of client.h:
 *
 *     HEAD -> [EXPECT] -> [BODY] -> WHOLE -> HEAD          answered, or in a place
 *     HEAD -> DISCARD -> HEAD                              refused with a body that is still coming
 *     WHOLE -> LISTING -> HEAD
 *     any -> CLOSING                                       malformed, too slow, or asked for
 *
 * Framing is trusted only while every byte of it was: a malformed request closes its connection, because
 * nobody can say where the next one begins. */
#include "api/api.h"

#include "api/client.h"
#include "api/listing.h"
#include "api/routes.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define CLIENTS_DEFAULT 10000
/* Beyond clients_max, and a quarter of it at most, while those that gave way are closed. */
#define CLIENTS_SPARE    64
#define HEAD_DEADLINE_MS 10000
#define BODY_DEADLINE_MS 30000
#define IDLE_DEADLINE_MS 60000
#define STALL_MS         30000
#define TICK_MS          1000 /* a look at every client; sooner for a deadline, but not below */
#define TICK_MIN_MS      100
#define ROOM_MS          1000 /* idle, or with half a head, so long: may be closed where another one needs room */
#define ROOM_LOOKS       256         /* clients looked at for one that needs room */
#define TRIM_MS          2000        /* idle so long, a client gives its memory back */
#define BUFFER_KEEP      (64 * 1024) /* bytes of capacity an emptied buffer keeps while its client is busy */
/* Bytes of requests that wait for earlier ones, before no more is read. */
#define HELD_INPUT_MAX (32 * 1024)

/* ---- the table ---- */

struct api *api_new(const struct api_options *options) {
    struct api *api = calloc(1, sizeof *api);
    if (api == NULL)
        err(1, "out of memory for the HTTP server");
    api->options = *options;
    if (api->options.clients_max == 0)
        api->options.clients_max = CLIENTS_DEFAULT;
    assert(api->options.clients_max <= MASK(SLOT_BITS) - CLIENTS_SPARE);
    api->free_first = UINT32_MAX;
    api->memory_max = MEMORY_MAX;
    TAILQ_INIT(&api->ready);
    return api;
}

void api_free(struct api *api) {
    if (api == NULL)
        return;
    for (uint32_t i = 0; i < api->slots_capacity; i++)
        if (api->slots[i].client != NULL)
            api_close(api->slots[i].client, 0);
    free(api->slots);
    free(api);
}

static void grow_slots(struct api *api) {
    uint32_t capacity = api->slots_capacity == 0 ? 16 : api->slots_capacity * 2;
    struct slot *slots = realloc(api->slots, capacity * sizeof *slots);
    if (slots == NULL)
        err(1, "out of memory for %u clients", capacity);
    for (uint32_t i = capacity; i-- > api->slots_capacity;) {
        slots[i] = (struct slot){.free_next = api->free_first};
        api->free_first = i;
    }
    api->slots = slots;
    api->slots_capacity = capacity;
}

static void close_after_answers(struct api_client *client);

/* It has asked for nothing, or not said what for a while. */
static bool gives_way(const struct api_client *client, uint64_t now_ms) {
    uint64_t allowed_ms = client->started ? HEAD_DEADLINE_MS : IDLE_DEADLINE_MS;
    return client->state == CLIENT_HEAD && client_under_way(client) == 0 &&
           buffer_size(&client->output) == 0 && now_ms + allowed_ms >= client->deadline_ms + ROOM_MS;
}

/* Idle connections and slow ones must not keep others out: the next such one, going round, is closed. It
 * still counts until the shell has seen to it, so some more than clients_max may be there for a moment. */
static bool make_room(struct api *api, uint64_t now_ms) {
    uint32_t looks = api->slots_capacity < ROOM_LOOKS ? api->slots_capacity : ROOM_LOOKS;
    uint32_t quarter = api->options.clients_max / 4 + 1;
    if (api->clients >= api->options.clients_max + (quarter < CLIENTS_SPARE ? quarter : CLIENTS_SPARE))
        return false;
    for (; looks > 0; looks--) {
        api->hand = (api->hand + 1) % api->slots_capacity;
        struct api_client *client = api->slots[api->hand].client;
        if (client != NULL && gives_way(client, now_ms)) {
            close_after_answers(client);
            return true;
        }
    }
    return false;
}

struct api_client *api_open(struct api *api, uint64_t now_ms, void *shell) {
    if (api->draining || (api->clients >= api->options.clients_max && !make_room(api, now_ms))) {
        api->metrics.turned_away++;
        return NULL;
    }
    if (api->free_first == UINT32_MAX)
        grow_slots(api);
    struct api_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        err(1, "out of memory for a client");
    client->api = api;
    client->shell = shell;
    client->asked.route = ROUTES_UNKNOWN;
    client->asked.started_us = api->metrics.now_us;
    api->metrics.opened++;
    client->slot = api->free_first;
    client->deadline_ms = now_ms + IDLE_DEADLINE_MS;
    struct slot *slot = &api->slots[client->slot];
    api->free_first = slot->free_next;
    slot->client = client;
    client->generation = slot->generation;
    api->clients++;
    return client;
}

struct bytes api_full_answer(void) {
    return bytes_of("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                    "Content-Length: 116\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
                    "{\"error\":\"overload\",\"message\":\"There are too many connections.\","
                    "\"fix\":\"Close idle connections, or try again later.\"}");
}

void *api_shell(const struct api_client *client) {
    return client->shell;
}

struct buffer *api_input(struct api_client *client) {
    return &client->input;
}

struct buffer *api_output(struct api_client *client) {
    return &client->output;
}

uint32_t api_clients_max(const struct api *api) {
    return api->options.clients_max;
}

size_t api_clients(const struct api *api) {
    return api->clients;
}

/* Keeps the sum of what clients hold. */
static void count_memory(struct api_client *client) {
    size_t size = buffer_size(&client->input) + buffer_size(&client->output) + client->waiting;
    client->api->memory += size - client->counted;
    client->counted = size;
}

static void make_ready(struct api_client *client) {
    if (client->is_ready)
        return;
    client->is_ready = true;
    TAILQ_INSERT_TAIL(&client->api->ready, client, ready);
}

struct api_client *api_next_ready(struct api *api) {
    struct api_client *client = TAILQ_FIRST(&api->ready);
    if (client == NULL)
        return NULL;
    TAILQ_REMOVE(&api->ready, client, ready);
    client->is_ready = false;
    return client;
}

void api_close(struct api_client *client, uint64_t now_ms) {
    struct api *api = client->api;
    struct slot *slot = &api->slots[client->slot];
    (void)now_ms;
    assert(slot->client == client);
    if (client->is_ready)
        TAILQ_REMOVE(&api->ready, client, ready);
    api->memory -= client->counted;
    slot->client = NULL;
    slot->generation = (slot->generation + 1) & MASK(GENERATION_BITS);
    slot->free_next = api->free_first;
    api->free_first = client->slot;
    api->clients--;
    listing_free(client->listing);
    client_free_places(client);
    buffer_release(&client->input);
    buffer_release(&client->output);
    free(client);
}

/* ---- answers that come later ---- */

static struct api_client *find_client(struct api *api, uint64_t ticket) {
    uint64_t slot = ticket >> (GENERATION_BITS + SEQUENCE_BITS);
    uint32_t generation = (uint32_t)(ticket >> SEQUENCE_BITS) & MASK(GENERATION_BITS);
    if (slot >= api->slots_capacity || api->slots[slot].client == NULL)
        return NULL;
    return api->slots[slot].generation == generation ? api->slots[slot].client : NULL;
}

void api_reply(void *arg, uint64_t ticket, const struct reply *reply) {
    struct api_client *client = find_client(arg, ticket);
    if (client == NULL)
        return; /* closed meanwhile */
    uint32_t ahead = ((uint32_t)ticket - client->first) & MASK(SEQUENCE_BITS);
    if (ahead >= client_under_way(client) || client_place(client, client->first + ahead)->ready)
        return; /* answered before */
    struct place *place = client_place(client, client->first + ahead);
    bool last = client->state == CLIENT_CLOSING && ahead + 1 == client_under_way(client);
    place->manner.close = place->manner.close || last;
    if (client->state != CLIENT_LISTING)
        client_count(client->api, &place->asked, client_result(&place->manner, place->operation, reply),
                     &reply->timing);
    if (client->state == CLIENT_LISTING) {
        client->first++;
        client_list(client, reply);
    } else if (ahead == 0) {
        client->first++;
        client_print(client, &client->output, place->manner, place->operation, reply,
                     buffer_bytes(&place->key));
        client_release_ready(client);
    } else {
        client_print(client, &place->answer, place->manner, place->operation, reply,
                     buffer_bytes(&place->key));
        client->waiting += buffer_size(&place->answer);
        place->ready = true;
    }
    count_memory(client);
    if (ahead == 0)
        make_ready(client);
}

/* ---- requests ---- */

static void close_after_answers(struct api_client *client) {
    client->state = CLIENT_CLOSING;
    make_ready(client);
}

/* The request at the front is done with; the next one begins behind it. */
static void next_request(struct api_client *client, uint64_t now_ms) {
    bool keep = client->head.keep_alive && !client->api->draining;
    buffer_consume(&client->input, client->head_size + client->body_size);
    buffer_trim(&client->input, BUFFER_KEEP);
    client->head = (struct http_head){0};
    client->body_size = client->head_size = 0;
    client->asked = (struct asked){.route = ROUTES_UNKNOWN};
    client->started = false;
    client->deadline_ms = now_ms + IDLE_DEADLINE_MS;
    client->state = CLIENT_HEAD;
    if (!keep)
        close_after_answers(client);
}

/* An answer, and the connection's end. */
static void refuse_and_close(struct api_client *client, enum error error, const char *message) {
    struct refusal why;
    refuse(&why, error, "%s", message);
    client->head.keep_alive = false;
    if (client->asked.started_us == 0)
        client->asked.started_us = client->api->metrics.now_us;
    client_refuse(client, &why, NULL);
    close_after_answers(client);
}

static void begin_body(struct api_client *client, uint64_t now_ms, enum client_state state) {
    client->state = state;
    client->chunked = (struct http_chunked){0};
    client->body_size = 0;
    client->deadline_ms = now_ms + BODY_DEADLINE_MS;
}

/* The head is there: is the body wanted? */
static void head_done(struct api_client *client, uint64_t now_ms) {
    const struct http_head *head = &client->head;
    bool body = head->has_transfer_encoding || head->length > 0;
    struct refusal why;
    const char *allow;
    client->asked.started_us = client->api->metrics.now_us;
    if (!routes_check(client, &why, &allow)) {
        /* A client that waits for a 100 may send its body or not, so nobody knows where the next request
         * begins. */
        if (body && (head->expect || head->length > BODY_SIZE_MAX))
            client->head.keep_alive = false;
        client_refuse(client, &why, allow);
        if (body && client->head.keep_alive)
            begin_body(client, now_ms, CLIENT_DISCARD);
        else
            next_request(client, now_ms);
        return;
    }
    if (head->length > BODY_SIZE_MAX) {
        refuse_and_close(client, ERROR_TOO_LARGE, "The body is larger than any value.");
        return;
    }
    if (!body)
        client->state = CLIENT_WHOLE;
    else
        begin_body(client, now_ms, head->expect ? CLIENT_EXPECT : CLIENT_BODY);
}

static bool step_head(struct api_client *client, uint64_t now_ms) {
    if (buffer_size(&client->input) == 0)
        return false;
    switch (http_parse_head(&client->head, buffer_bytes(&client->input), &client->head_size)) {
    case HTTP_DONE:
        head_done(client, now_ms);
        return true;
    case HTTP_BAD:
        refuse_and_close(client, client->head.error, client->head.message);
        return false;
    default:
        if (!client->started)
            client->deadline_ms = now_ms + HEAD_DEADLINE_MS;
        client->started = true;
        return false;
    }
}

/* What has come of a chunked body is decoded in place, and the framing taken out of the input. */
static enum http_result decode_chunks(struct api_client *client) {
    struct buffer *in = &client->input;
    uint8_t *raw = in->data + in->start + client->head_size + client->body_size;
    size_t held = (size_t)(in->data + in->end - raw), size = held, used;
    enum http_result result = http_chunked_decode(&client->chunked, raw, &size, &used, BODY_SIZE_MAX);
    memmove(raw + size, raw + used, held - used);
    in->end -= used - size;
    client->body_size += size;
    return result;
}

/* HTTP_DONE: body_size bytes of body are behind the head. */
static enum http_result read_body(struct api_client *client) {
    if (client->head.has_transfer_encoding)
        return decode_chunks(client);
    size_t there = buffer_size(&client->input) - client->head_size;
    bool whole = there >= client->head.length;
    client->body_size = whole ? (size_t)client->head.length : there;
    return whole ? HTTP_DONE : HTTP_MORE;
}

static bool step_body(struct api_client *client, uint64_t now_ms) {
    bool discard = client->state == CLIENT_DISCARD;
    enum http_result result = read_body(client);
    if (result == HTTP_MORE && client->body_size > MEMORY_SMALL &&
        client->api->memory > client->api->memory_max) {
        refuse_and_close(client, ERROR_OVERLOAD, "The node holds too many large requests and answers.");
        return false;
    }
    if (result == HTTP_BAD) {
        if (discard)
            close_after_answers(client);
        else
            refuse_and_close(client, client->chunked.error, client->chunked.message);
        return false;
    }
    if (result == HTTP_DONE) {
        client->asked.started_us = client->api->metrics.now_us;
        if (discard)
            next_request(client, now_ms);
        else
            client->state = CLIENT_WHOLE;
    }
    return result == HTTP_DONE;
}

/* The 100 is an answer too: it leaves in order. */
static bool step_expect(struct api_client *client) {
    if (client_under_way(client) > 0)
        return false;
    if (buffer_size(&client->input) == client->head_size)
        buffer_append_text(&client->output, "HTTP/1.1 100 Continue\r\n\r\n");
    client->state = CLIENT_BODY;
    return true;
}

static bool step_whole(struct api_client *client, uint64_t now_ms) {
    if (!routes_may_start(client))
        return false;
    routes_run(client, now_ms);
    if (client->listing != NULL)
        client->state = CLIENT_LISTING;
    else
        next_request(client, now_ms);
    return true;
}

void client_gather(struct api_client *client, uint64_t now_ms) {
    uint64_t ticket = client_ticket(client);
    client_wait(client, OPERATION_GET, (struct bytes){NULL, 0});
    client->listing_begun = false;
    client->state = CLIENT_LISTING; /* the reply may come at once */
    listing_ask(client->listing, client->api->options.coordinator, now_ms, ticket);
}

void client_list(struct api_client *client, const struct reply *reply) {
    struct speaker speaker = client_speaker(client);
    struct manner manner = listing_manner(client->listing);
    bool done = true;
    if (reply->error != ERROR_NONE && !listing_cut(client->listing))
        answer_error(&client->output, manner, &speaker, reply, NULL);
    else if (reply->error == ERROR_NONE)
        done =
            listing_step(client->listing, client->api->options.coordinator, &speaker, reply, &client->output);
    client->listing_begun = true;
    client->listing_done = done;
    if (done)
        client_count(client->api, &client->asked, reply->error, NULL);
}

static bool step_listing(struct api_client *client, uint64_t now_ms) {
    static const struct reply none;
    if (!client->listing_begun)
        return false; /* its barrier is under way */
    if (!client->listing_done) {
        if (buffer_size(&client->output) >= LISTING_SLICE_SIZE)
            return false;
        if (listing_gathers(client->listing))
            client_gather(client, now_ms);
        else
            client_list(client, &none);
        return true;
    }
    if (listing_manner(client->listing).close)
        client->head.keep_alive = false;
    listing_free(client->listing);
    client->listing = NULL;
    client->listing_begun = client->listing_done = false;
    next_request(client, now_ms);
    return true;
}

/* True where the client's state went on. */
static bool step(struct api_client *client, uint64_t now_ms) {
    switch (client->state) {
    case CLIENT_HEAD:
        return step_head(client, now_ms);
    case CLIENT_EXPECT:
        return step_expect(client);
    case CLIENT_BODY:
    case CLIENT_DISCARD:
        return step_body(client, now_ms);
    case CLIENT_WHOLE:
        return step_whole(client, now_ms);
    case CLIENT_LISTING:
        return step_listing(client, now_ms);
    default:
        return false;
    }
}

static bool held_back(const struct api_client *client) {
    return buffer_size(&client->output) + client->waiting >= OUTPUT_SIZE_MAX ||
           client_under_way(client) >= PLACES_MAX;
}

void api_process(struct api_client *client, uint64_t now_ms) {
    buffer_trim(&client->output, BUFFER_KEEP);
    count_memory(client);
    while (!held_back(client) && step(client, now_ms)) {
    }
    bool wants_more =
        client->state == CLIENT_HEAD || client->state == CLIENT_BODY || client->state == CLIENT_DISCARD;
    if (client->ended && wants_more && !held_back(client))
        close_after_answers(client);
    if (client->state == CLIENT_CLOSING)
        buffer_clear(&client->input);
    count_memory(client);
}

bool api_wants_input(const struct api_client *client) {
    bool reading =
        client->state == CLIENT_HEAD || client->state == CLIENT_BODY || client->state == CLIENT_DISCARD;
    return !client->ended && client->state != CLIENT_CLOSING && !held_back(client) &&
           (reading || buffer_size(&client->input) < HELD_INPUT_MAX);
}

bool api_wants_close(const struct api_client *client) {
    return client->state == CLIENT_CLOSING && client_under_way(client) == 0;
}

void api_input_ended(struct api_client *client) {
    client->ended = true;
    make_ready(client);
}

/* ---- what is counted ---- */

void api_clock(struct api *api, uint64_t now_us) {
    metrics_clock(&api->metrics, now_us);
}

bool api_wants_clock(const struct api *api) {
    return api->metrics.any_instant;
}

void api_log_requests(struct api *api, bool all) {
    api->log_requests = all;
}

void api_metrics(const struct api *api, struct buffer *out) {
    const char *names[METRICS_ROUTES_MAX] = {NULL};
    for (uint8_t i = 0; i <= ROUTES_UNKNOWN; i++)
        names[i] = routes_name(i);
    metrics_print(&api->metrics, names, out);
}

/* ---- time ---- */

/* Nothing more is to be written. */
static void drop_answers(struct api_client *client) {
    listing_free(client->listing);
    client->listing = NULL;
    client->first = client->next;
    client->waiting = 0;
    client_free_places(client);
    buffer_clear(&client->output);
    close_after_answers(client);
}

/* Output that has not shrunk: what the kernel took moves its start or makes it smaller. */
static void watch_output(struct api_client *client, uint64_t now_ms) {
    const struct buffer *out = &client->output;
    bool moved = out->start != client->stalled_start || buffer_size(out) < client->stalled_size;
    if (moved || client->stalled_ms == 0 || buffer_size(out) == 0)
        client->stalled_ms = now_ms;
    client->stalled_start = out->start;
    client->stalled_size = buffer_size(out);
    if (now_ms - client->stalled_ms >= STALL_MS)
        drop_answers(client);
}

static void expire(struct api_client *client) {
    switch (client->state) {
    case CLIENT_HEAD:
        if (client->started)
            refuse_and_close(client, ERROR_TIMEOUT, "The headers did not arrive within 10 s.");
        else if (client_under_way(client) == 0 && buffer_size(&client->output) == 0)
            close_after_answers(client);
        return;
    case CLIENT_EXPECT:
    case CLIENT_BODY:
        refuse_and_close(client, ERROR_TIMEOUT, "The body did not arrive within 30 s.");
        return;
    case CLIENT_DISCARD:
        close_after_answers(client);
        return;
    default:
        return; /* it waits for the node, not the node for it */
    }
}

static bool is_idle(const struct api_client *client) {
    return client->state == CLIENT_HEAD && !client->started && client_under_way(client) == 0 &&
           buffer_size(&client->input) == 0 && buffer_size(&client->output) == 0;
}

static void trim(struct api_client *client, uint64_t now_ms) {
    if (now_ms + IDLE_DEADLINE_MS < client->deadline_ms + TRIM_MS)
        return;
    buffer_release(&client->input);
    buffer_release(&client->output);
    client_free_places(client);
}

uint64_t api_tick(struct api *api, uint64_t now_ms) {
    if (now_ms < api->tick_ms)
        return api->tick_ms;
    uint64_t next = now_ms + TICK_MS;
    for (uint32_t i = 0; i < api->slots_capacity; i++) {
        struct api_client *client = api->slots[i].client;
        if (client == NULL)
            continue;
        watch_output(client, now_ms);
        if (now_ms >= client->deadline_ms)
            expire(client);
        else if (client->deadline_ms < next)
            next = client->deadline_ms;
        if (is_idle(client))
            trim(client, now_ms);
    }
    api->tick_ms = next > now_ms + TICK_MIN_MS ? next : now_ms + TICK_MIN_MS;
    return api->tick_ms;
}

bool api_drain(struct api *api) {
    bool done = true;
    api->draining = true;
    for (uint32_t i = 0; i < api->slots_capacity; i++) {
        struct api_client *client = api->slots[i].client;
        if (client == NULL)
            continue;
        if (client->state != CLIENT_CLOSING && client->state != CLIENT_LISTING)
            close_after_answers(client);
        done = done && client_under_way(client) == 0 && client->state == CLIENT_CLOSING &&
               buffer_size(&client->output) == 0;
    }
    return done;
}
