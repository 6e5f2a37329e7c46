#include "api/routes.h"

#include "api/access.h"
#include "api/json_in.h"
#include "api/json_out.h"
#include "api/listing.h"
#include "api/route.h"
#include "api/routes_cluster.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUEST_DEADLINE_MS 5000 /* PRODUCT.md */

enum route_kind { ROUTE_READ, ROUTE_WRITE, ROUTE_ALONE };

struct route {
    const char *path;
    uint8_t size;                 /* of path */
    uint32_t methods, parameters; /* bits */
    const char *allow;
    enum route_kind kind;
    /* False: refused, with why. */
    bool (*run)(struct call *call);
};

static bool run_set(struct call *call);
static bool run_get(struct call *call);
static bool run_delete(struct call *call);
static bool run_outcome(struct call *call);
static bool run_keys(struct call *call);
static bool run_cluster(struct call *call);
static bool run_nodes(struct call *call);
static bool run_join(struct call *call);
static bool run_leave(struct call *call);
static bool run_transfer(struct call *call);

#define METHOD(name)    (1u << HTTP_##name)
#define PARAMETER(name) (1u << PARAMETER_##name)
#define READS           (METHOD(GET) | METHOD(HEAD))
#define PATH(text)      .path = text, .size = sizeof text - 1

/* The most frequent first. */
static const struct route routes[] = {
    {PATH("/get"), READS, PARAMETER(KEY) | PARAMETER(CONSISTENCY) | PARAMETER(EXPLAIN), "GET, HEAD",
     ROUTE_READ, run_get},
    {PATH("/set"), METHOD(POST), PARAMETER(ACK) | PARAMETER(EXPLAIN), "POST", ROUTE_WRITE, run_set},
    {PATH("/delete"), METHOD(DELETE), PARAMETER(KEY) | PARAMETER(ACK) | PARAMETER(EXPLAIN), "DELETE",
     ROUTE_WRITE, run_delete},
    {PATH("/keys"), READS, PARAMETER(PREFIX) | PARAMETER(AFTER) | PARAMETER(LIMIT) | PARAMETER(CONSISTENCY),
     "GET, HEAD", ROUTE_ALONE, run_keys},
    {PATH("/outcome"), READS, PARAMETER(CLIENT) | PARAMETER(REQUEST) | PARAMETER(KEY), "GET, HEAD",
     ROUTE_READ, run_outcome},
    {PATH("/cluster"), READS, 0, "GET, HEAD", ROUTE_ALONE, run_cluster},
    {PATH("/health"), READS, PARAMETER(READY), "GET, HEAD", ROUTE_ALONE, run_health},
    {PATH("/metrics"), READS, 0, "GET, HEAD", ROUTE_ALONE, run_metrics},
    {PATH("/rejected"), READS, PARAMETER(AFTER) | PARAMETER(LIMIT), "GET, HEAD", ROUTE_ALONE, run_rejected},
    {PATH("/rejected/drop"), METHOD(POST), 0, "POST", ROUTE_ALONE, run_rejected_drop},
    {PATH("/log-level"), READS | METHOD(POST), 0, "GET, HEAD, POST", ROUTE_ALONE, run_log_level},
    {PATH("/cluster/nodes"), READS, 0, "GET, HEAD", ROUTE_ALONE, run_nodes},
    {PATH("/cluster/join"), METHOD(POST), 0, "POST", ROUTE_ALONE, run_join},
    {PATH("/cluster/leave"), METHOD(POST), 0, "POST", ROUTE_ALONE, run_leave},
    {PATH("/cluster/transfer"), METHOD(POST), 0, "POST", ROUTE_ALONE, run_transfer},
};

_Static_assert(sizeof routes / sizeof routes[0] <= ROUTES_UNKNOWN, "every route has a number of its own");

/* Known, and answered with 501. A path that ends in / stands for all below it. */
static const char *const not_built[] = {"/kv/", "/api/v1/"};

static const struct route *find(struct bytes path) {
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (path.size == routes[i].size && memcmp(path.data, routes[i].path, path.size) == 0)
            return &routes[i];
    return NULL;
}

const char *routes_name(uint8_t number) {
    if (number == ROUTES_UNKNOWN)
        return "other";
    return number < sizeof routes / sizeof routes[0] ? routes[number].path : NULL;
}

static bool is_not_built(struct bytes path) {
    for (size_t i = 0; i < sizeof not_built / sizeof not_built[0]; i++) {
        struct bytes known = bytes_of(not_built[i]);
        bool below = known.data[known.size - 1] == '/';
        if (below ? bytes_start_with(path, known) : bytes_equal(path, known))
            return true;
    }
    return false;
}

static struct bytes field(const struct api_client *client, enum http_field which) {
    return http_text(client->head.field[which], buffer_bytes(&client->input).data);
}

static const struct route *route_of(const struct api_client *client) {
    assert(client->asked.route < ROUTES_UNKNOWN); /* routes_check has passed */
    return &routes[client->asked.route];
}

/* ---- the head ---- */

static bool check_access(struct api_client *client, struct refusal *why) {
    struct api *api = client->api;
    struct bytes host = field(client, HTTP_HOST);
    bool known = host.size == api->host_size && memcmp(host.data, api->host, host.size) == 0;
    if (http_has(&client->head, HTTP_HOST) && !known) { /* HTTP/1.0 may have none */
        if (!access_host(host, api->options.allow_hosts))
            return refuse_naming(why, ERROR_FORBIDDEN_HOST, "The Host header does not name this node:", host);
        if (host.size <= sizeof api->host) {
            memcpy(api->host, host.data, host.size);
            api->host_size = host.size;
        }
    }
    struct bytes origin = field(client, HTTP_ORIGIN);
    if (http_has(&client->head, HTTP_ORIGIN) && !access_origin(origin, host))
        return refuse_naming(why, ERROR_FORBIDDEN_ORIGIN, "The request comes from a page of", origin);
    return true;
}

static bool check_after(const struct api_client *client, const struct route *route, struct refusal *why) {
    bool reads = route->run == run_get || route->run == run_keys;
    return reads || !http_has(&client->head, HTTP_KV_AFTER) ||
           refuse(why, ERROR_BAD_PARAMETER, "KV-After belongs to reads: /get and /keys take it.");
}

static bool check_pair(const struct api_client *client, const struct route *route, struct refusal *why) {
    const struct http_head *head = &client->head;
    if (route->kind == ROUTE_WRITE || (!http_has(head, HTTP_KV_CLIENT) && !http_has(head, HTTP_KV_REQUEST)))
        return true;
    return refuse(why, ERROR_BAD_PARAMETER,
                  "KV-Client and KV-Request belong to writes: /set and /delete take them.");
}

static bool check_conditions(const struct api_client *client, const struct route *route,
                             struct refusal *why) {
    const struct http_head *head = &client->head;
    if (route->kind == ROUTE_WRITE)
        return true;
    if (http_has(head, HTTP_IF_MATCH))
        return refuse(why, ERROR_BAD_PARAMETER,
                      "If-Match is a condition of writes: /set and /delete take it.");
    return route->run == run_get || !http_has(head, HTTP_IF_NONE_MATCH) ||
           refuse(why, ERROR_BAD_PARAMETER, "If-None-Match belongs to keys: /get, /set and /delete take it.");
}

static bool check_body(const struct api_client *client, const struct route *route, struct refusal *why) {
    const struct http_head *head = &client->head;
    bool body = head->has_transfer_encoding || head->length > 0;
    if (head->method != HTTP_POST)
        return !body || refuse(why, ERROR_BAD_REQUEST, "%s takes no body.", route->path);
    if (!access_json(field(client, HTTP_CONTENT_TYPE)))
        return refuse_naming(why, ERROR_NOT_JSON, "The body's Content-Type is not application/json but",
                             field(client, HTTP_CONTENT_TYPE));
    return true;
}

bool routes_check(struct api_client *client, struct refusal *why, const char **allow) {
    struct bytes path = http_text(client->head.path, buffer_bytes(&client->input).data);
    const struct route *route = find(path);
    client->asked.route = route != NULL ? (uint8_t)(route - routes) : ROUTES_UNKNOWN;
    client->asked.method = client->head.method;
    *allow = NULL;
    if (!check_access(client, why))
        return false;
    if (route == NULL && is_not_built(path))
        return refuse_naming(why, ERROR_NOT_BUILT, "This version does not have the route", path);
    if (route == NULL)
        return refuse_naming(why, ERROR_NO_ROUTE, "There is no route", path);
    if ((route->methods & 1u << client->head.method) == 0) {
        *allow = route->allow;
        return refuse(why, ERROR_METHOD, "%s takes %s.", route->path, route->allow);
    }
    return check_after(client, route, why) && check_pair(client, route, why) &&
           check_conditions(client, route, why) && check_body(client, route, why);
}

bool routes_may_start(const struct api_client *client) {
    uint32_t under_way = client_under_way(client);
    if (under_way == 0)
        return true;
    switch (route_of(client)->kind) {
    case ROUTE_READ:
        return !client->writes && under_way < READS_MAX;
    case ROUTE_WRITE:
        return client->writes && under_way < WRITES_MAX;
    default:
        return false;
    }
}

/* ---- -route ---- */

static void answer_away(struct call *call, const struct coordinator_away *away) {
    struct api_client *client = call->client;
    struct speaker speaker = client_speaker(client);
    char authority[ADDRESS_TEXT_MAX];
    struct buffer *out = client_answer_begin(client);
    if (away->reply.error == ERROR_REDIRECT)
        answer_redirect(out, client_manner(client), &speaker, &away->reply,
                        address_text(&away->api, authority), call->target);
    else
        answer_error(out, client_manner(client), &speaker, &away->reply, NULL);
    client_answer_end(client, out, away->reply.error);
}

/* True where the request was answered with the way to its leader. */
static bool went_away(struct call *call, const struct request *request) {
    const struct coordinator *c = call->client->api->options.coordinator;
    struct coordinator_away away;
    if (!coordinator_may_route_away(c) || !coordinator_routes_away(c, request, &away))
        return false;
    answer_away(call, &away);
    return true;
}

/* ---- get, set, delete ---- */

/* Submits, and answers or waits. The request borrows from the input, which is consumed only afterwards. */
static bool submit(struct call *call, struct request *request) {
    struct api_client *client = call->client;
    struct reply reply;
    if (went_away(call, request))
        return true;
    request->deadline_ms = call->now_ms + REQUEST_DEADLINE_MS;
    client->writes = operation_writes(request->operation);
    if (!coordinator_submit(client->api->options.coordinator, call->now_ms, request, client_ticket(client),
                            &reply)) {
        client_wait(client, request->operation, request->key);
        return true;
    }
    struct buffer *out = client_answer_begin(client);
    struct manner manner = client_manner(client);
    client_print(client, out, manner, request->operation, &reply, request->key);
    client_answer_end(client, out, client_result(&manner, request->operation, &reply));
    return true;
}

static bool check_key(struct bytes key, struct refusal *why) {
    if (key.size == 0)
        return refuse(why, ERROR_BAD_KEY, "The key is missing or empty.");
    if (key.size > KEY_SIZE_MAX)
        return refuse(why, ERROR_BAD_KEY, "The key has %zu bytes, more than 1024.", key.size);
    return true;
}

static bool read_ack(struct call *call, struct request *request) {
    request->ack_given = parameter_has(&call->parameters, PARAMETER_ACK);
    if (request->ack_given && !parameter_ack(call->parameters.value[PARAMETER_ACK], &request->ack))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "ack is async, quorum or all.");
    return true;
}

static bool read_consistency(struct call *call, struct request *request) {
    struct bytes text = call->parameters.value[PARAMETER_CONSISTENCY];
    if (!parameter_has(&call->parameters, PARAMETER_CONSISTENCY))
        return true;
    request->linearizable = bytes_equal(text, bytes_of("linearizable"));
    if (!request->linearizable && !bytes_equal(text, bytes_of("default")))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "consistency is linearizable or default.");
    return true;
}

static bool read_explain(struct call *call, struct request *request) {
    if (!parameter_has(&call->parameters, PARAMETER_EXPLAIN))
        return true;
    struct bytes text = call->parameters.value[PARAMETER_EXPLAIN];
    request->explain = bytes_equal(text, bytes_of("1"));
    if (!request->explain && !bytes_equal(text, bytes_of("0")))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "explain is 1 or 0.");
    return true;
}

/* A read may bring a large answer. */
static bool check_memory(struct call *call) {
    const struct api *api = call->client->api;
    return api->memory <= api->memory_max ||
           refuse(&call->why, ERROR_OVERLOAD, "Clients leave too many large answers unread.");
}

static bool run_get(struct call *call) {
    struct request request = {.operation = OPERATION_GET};
    if (parameter_has(&call->parameters, PARAMETER_KEY))
        request.key = call->parameters.value[PARAMETER_KEY];
    return check_memory(call) && check_key(request.key, &call->why) && read_consistency(call, &request) &&
           read_explain(call, &request) &&
           unless_parse(&call->client->head, call->base, &call->client->unless, &call->why) &&
           after_parse(&call->client->head, call->base, &request, &call->why) && submit(call, &request);
}

static bool run_delete(struct call *call) {
    struct request request = {.operation = OPERATION_DELETE};
    if (parameter_has(&call->parameters, PARAMETER_KEY))
        request.key = call->parameters.value[PARAMETER_KEY];
    if (!check_key(request.key, &call->why))
        return false;
    if (utf8_valid(request.key) != request.key.size)
        return refuse(&call->why, ERROR_CONFLICT,
                      "The key is not UTF-8, so that JSON cannot name it in the answer.");
    return read_ack(call, &request) && read_explain(call, &request) &&
           pair_parse(&call->client->head, call->base, &request, &call->why) &&
           condition_parse(&call->client->head, call->base, &request, &call->why) && submit(call, &request);
}

static void refuse_set_body(struct refusal *why, const struct json_set *set) {
    if (set->unknown.data != NULL && bytes_equal(set->unknown, bytes_of("ttl"))) {
        refuse_naming(why, ERROR_NOT_BUILT, "This version does not have the field", set->unknown);
        return;
    }
    if (set->unknown.data == NULL)
        refuse(why, ERROR_BAD_JSON, "The body is not the JSON that /set takes: %s.", set->error);
    else
        refuse_naming(why, ERROR_BAD_JSON, "/set does not know the field", set->unknown);
    why->fix = "Send one JSON object in UTF-8, such as {\"key\":\"name\",\"value\":\"text\"}.";
}

static bool run_set(struct call *call) {
    struct api_client *client = call->client;
    struct request request = {.operation = OPERATION_SET};
    struct json_set set;
    if (!json_read_set(call->base + client->head_size, client->body_size, &set)) {
        refuse_set_body(&call->why, &set);
        return false;
    }
    if (!check_key(set.key, &call->why))
        return false;
    if (set.value.size > VALUE_SIZE_MAX)
        return refuse(&call->why, ERROR_TOO_LARGE, "The value has %zu bytes, more than 1048576.",
                      set.value.size);
    request.key = set.key;
    request.value = set.value;
    return read_ack(call, &request) && read_explain(call, &request) &&
           pair_parse(&client->head, call->base, &request, &call->why) &&
           condition_parse(&client->head, call->base, &request, &call->why) && submit(call, &request);
}

static bool run_outcome(struct call *call) {
    const struct parameters *p = &call->parameters;
    struct request request = {.operation = OPERATION_OUTCOME, .linearizable = true};
    if (!parameter_has(p, PARAMETER_CLIENT) || !parameter_has(p, PARAMETER_REQUEST))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "/outcome requires client, request and key.");
    request.client = p->value[PARAMETER_CLIENT];
    request.request = p->value[PARAMETER_REQUEST];
    if (!pair_name_valid(request.client) || !pair_name_valid(request.request))
        return refuse(&call->why, ERROR_BAD_PARAMETER,
                      "client and request have 1 to 64 visible ASCII characters each.");
    if (parameter_has(p, PARAMETER_KEY))
        request.key = p->value[PARAMETER_KEY];
    return check_key(request.key, &call->why) && submit(call, &request);
}

/* ---- keys ---- */

static bool run_keys(struct call *call) {
    struct api_client *client = call->client;
    const struct parameters *p = &call->parameters;
    struct request request = {.deadline_ms = call->now_ms + REQUEST_DEADLINE_MS, .operation = OPERATION_GET};
    struct bytes prefix = {0}, after = {0};
    struct reply reply;
    uint64_t limit = 0;
    if (parameter_has(p, PARAMETER_LIMIT) && !parameter_number(p->value[PARAMETER_LIMIT], UINT32_MAX, &limit))
        return refuse(&call->why, ERROR_BAD_PARAMETER, "limit is a whole number from 1 to 4294967295.");
    if (!read_consistency(call, &request) || !after_parse(&client->head, call->base, &request, &call->why))
        return false;
    if (went_away(call, &request))
        return true;
    if (parameter_has(p, PARAMETER_PREFIX))
        prefix = p->value[PARAMETER_PREFIX];
    if (parameter_has(p, PARAMETER_AFTER))
        after = p->value[PARAMETER_AFTER];
    client->listing = listing_new(client_manner(client), prefix, after, limit);
    client->writes = false;
    /* A linearizable listing is read a slice at a time, each as a read of its own: what this node has applied
     * runs ahead of what is committed while a reader is slow. */
    if (request.linearizable || coordinator_gathers(client->api->options.coordinator)) {
        listing_gather(client->listing, request.linearizable, request.after);
        client_gather(client, call->now_ms);
        return true;
    }
    uint64_t ticket = client_ticket(client);
    if (coordinator_barrier(client->api->options.coordinator, call->now_ms, &request, ticket, &reply))
        client_list(client, &reply);
    else
        client_wait(client, OPERATION_GET, (struct bytes){0});
    return true;
}

/* ---- cluster, health ---- */

void route_answer(struct call *call, struct buffer *body, bool plain) {
    struct reply reply = {0};
    struct api_client *client = call->client;
    struct speaker speaker = client_speaker(client);
    struct manner manner = client_manner(client);
    struct buffer *out = client_answer_begin(client);
    manner.plain = plain;
    answer_json(out, manner, &speaker, &reply, buffer_bytes(body));
    client_answer_end(client, out, ERROR_NONE);
    buffer_release(body);
}

/* Of cJSON, which tells a lack of memory by NULL. */
static cJSON *made(cJSON *item) {
    if (item == NULL)
        err(1, "out of memory for an answer");
    return item;
}

static cJSON *node_json(const struct node_info *info) {
    char id[NODE_ID_SIZE + 1] = {0}, address[ADDRESS_TEXT_MAX];
    cJSON *node = made(cJSON_CreateObject());
    memcpy(id, info->id, NODE_ID_SIZE);
    made(cJSON_AddStringToObject(node, "node_id", id));
    made(cJSON_AddStringToObject(node, "address", address_text(&info->peer, address)));
    made(cJSON_AddNumberToObject(node, "group_id", info->group));
    return node;
}

static void add_numbers(cJSON *answer, const char *name, const uint32_t *numbers, size_t count) {
    cJSON *array = made(cJSON_AddArrayToObject(answer, name));
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(array, made(cJSON_CreateNumber(numbers[i])));
}

/* [first, last, group] of each range, in order: thousands where there are many groups. */
static void add_slots(cJSON *answer, const struct ring *ring) {
    struct buffer text = {0};
    char range[48];
    for (uint32_t slot = 0, end; slot < SLOT_COUNT; slot = end) {
        end = ring_range_end(ring, slot);
        snprintf(range, sizeof range, "%c[%u,%u,%u]", slot == 0 ? '[' : ',', slot, end - 1,
                 ring->owners[slot]);
        buffer_append_text(&text, range);
    }
    buffer_append(&text, (struct bytes){(const uint8_t *)"]", 2}); /* and the NUL */
    made(cJSON_AddRawToObject(answer, "slots", (const char *)buffer_bytes(&text).data));
    buffer_release(&text);
}

/* Nothing while there is one group. */
static void add_ring(cJSON *answer, const struct coordinator *c) {
    struct coordinator_ring ring;
    coordinator_ring(c, &ring);
    if (!ring.several)
        return;
    made(cJSON_AddNumberToObject(answer, "ring_epoch", (double)ring.epoch));
    add_numbers(answer, "groups", ring.groups, ring.group_count);
    if (ring.joining_count > 0)
        add_numbers(answer, "joining", ring.joining, ring.joining_count);
    if (ring.slots != NULL)
        add_slots(answer, ring.slots);
}

/* Nodes of this cluster, and apart from them those of others, where there are any. */
static void add_nodes(cJSON *answer, const struct coordinator *c, const struct coordinator_node *nodes,
                      size_t count, const char *cluster) {
    cJSON *own = made(cJSON_AddArrayToObject(answer, "nodes"));
    cJSON *foreign = made(cJSON_CreateArray());
    for (size_t i = 0; i < count; i++) {
        cJSON *node = node_json(&nodes[i].info);
        if (strcmp(nodes[i].info.cluster, cluster) == 0) {
            made(cJSON_AddBoolToObject(node, "is_leader", nodes[i].is_leader));
            cJSON_AddItemToArray(own, node);
        } else {
            made(cJSON_AddStringToObject(node, "cluster", nodes[i].info.cluster));
            cJSON_AddItemToArray(foreign, node);
        }
    }
    made(cJSON_AddNumberToObject(answer, "node_count", cJSON_GetArraySize(own)));
    add_ring(answer, c);
    if (cJSON_GetArraySize(foreign) > 0)
        cJSON_AddItemToObject(answer, "foreign", foreign);
    else
        cJSON_Delete(foreign);
}

static bool run_cluster(struct call *call) {
    struct coordinator *c = call->client->api->options.coordinator;
    const struct node_info *self = coordinator_self(c);
    const size_t max = COORDINATOR_NODES_MAX;
    char id[NODE_ID_SIZE + 1] = {0};
    struct coordinator_node *nodes = calloc(max, sizeof *nodes);
    cJSON *answer = made(cJSON_CreateObject());
    struct buffer body = {0};
    if (nodes == NULL)
        err(1, "out of memory for the list of nodes");
    memcpy(id, self->id, NODE_ID_SIZE);
    made(cJSON_AddStringToObject(answer, "self_node_id", id));
    made(cJSON_AddNumberToObject(answer, "self_group", self->group));
    made(cJSON_AddBoolToObject(answer, "is_leader", coordinator_is_leader(c)));
    add_nodes(answer, c, nodes, coordinator_nodes(c, nodes, max), self->cluster);
    char *text = cJSON_PrintUnformatted(answer);
    if (text == NULL)
        err(1, "out of memory for an answer");
    buffer_append_text(&body, text);
    cJSON_free(text);
    cJSON_Delete(answer);
    free(nodes);
    route_answer(call, &body, false);
    return true;
}

/* ---- members ---- */

static bool run_nodes(struct call *call) {
    struct request request = {.operation = OPERATION_NODES};
    request.key = (struct bytes){coordinator_self(call->client->api->options.coordinator)->id, NODE_ID_SIZE};
    return submit(call, &request);
}

static bool run_change(struct call *call, enum operation operation) {
    const struct api_client *client = call->client;
    struct request request = {0};
    return cluster_body_read(call->base + client->head_size, client->body_size, operation, &request,
                             &call->why) &&
           submit(call, &request);
}

static bool run_join(struct call *call) {
    return run_change(call, OPERATION_JOIN);
}

static bool run_leave(struct call *call) {
    return run_change(call, OPERATION_LEAVE);
}

static bool run_transfer(struct call *call) {
    return run_change(call, OPERATION_TRANSFER);
}

/* ---- a request ---- */

static void copy_target(const struct api_client *client, const uint8_t *base, struct buffer *out) {
    buffer_append(out, http_text(client->head.path, base));
    if (client->head.has_query) {
        buffer_append_text(out, "?");
        buffer_append(out, http_text(client->head.query, base));
    }
}

void routes_run(struct api_client *client, uint64_t now_ms) {
    const struct route *route = route_of(client);
    struct http_slice query = client->head.query;
    struct buffer target = {0};
    struct call call;
    call.client = client;
    call.now_ms = now_ms;
    client->unless = (struct unless){0};
    call.base = client->input.data + client->input.start;
    if (coordinator_may_route_away(client->api->options.coordinator))
        copy_target(client, call.base, &target);
    call.target = buffer_bytes(&target);
    if (!parameters_parse(&call.parameters, call.base + query.at, query.size, route->parameters, &call.why) ||
        !route->run(&call))
        client_refuse(client, &call.why, NULL);
    buffer_release(&target);
}
