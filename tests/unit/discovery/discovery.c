/* Discovery's core: nodes on one simulated wire, under one simulated clock. */
#include "discovery/discovery.h"
#include "storage/crc32c.h"
#include "storage/wire.h"
#include "tests/tap.h"

#define NODES 4

struct wire;

struct node {
    struct wire *wire;
    struct discovery *discovery;
    struct node_info info;
    struct address source; /* of its datagrams */
    int broadcasts, answers, joined, restarted, changed, heard, removed;
    uint64_t last_broadcast_ms, first_gap_ms;
    int foreign, version;
};

struct wire {
    uint64_t now_ms;
    struct node node[NODES];
    struct {
        struct buffer data;
        struct node *from, *to;
    } queue[256];
    size_t queued;
};

static void on_send(void *arg, const struct address *to, struct bytes datagram) {
    struct node *from = arg;
    struct wire *w = from->wire;
    if (to == NULL) {
        from->first_gap_ms = w->now_ms - from->last_broadcast_ms;
        from->last_broadcast_ms = w->now_ms;
        from->broadcasts++;
    } else {
        from->answers++;
    }
    for (int n = 0; n < NODES; n++) {
        struct node *other = &w->node[n];
        if (other->discovery == NULL || (to != NULL && !address_equal(to, &other->source)) ||
            w->queued == 256)
            continue;
        w->queue[w->queued].from = from;
        w->queue[w->queued].to = other;
        buffer_append(&w->queue[w->queued++].data, datagram);
    }
}

static void on_heard(void *arg, const struct node_info *info, enum membership_event event,
                     const struct address *source) {
    struct node *node = arg;
    (void)info;
    (void)source;
    node->heard++;
    node->joined += event == MEMBERSHIP_JOINED;
    node->restarted += event == MEMBERSHIP_RESTARTED;
    node->changed += event == MEMBERSHIP_CHANGED;
}

static void on_foreign(void *arg, const struct node_info *info) {
    (void)info;
    ((struct node *)arg)->foreign++;
}

static void on_version(void *arg, const struct address *source) {
    (void)source;
    ((struct node *)arg)->version++;
}

static void on_removed(void *arg, const struct node_info *info) {
    (void)info;
    ((struct node *)arg)->removed++;
}

static void start(struct wire *w, int n, uint64_t session, const char *cluster, bool broadcast) {
    struct node *node = &w->node[n];
    struct discovery_host host = {.arg = node,
                                  .send = on_send,
                                  .heard = on_heard,
                                  .removed = on_removed,
                                  .foreign = on_foreign,
                                  .version = on_version};
    char text[32];
    node->wire = w;
    node->info = (struct node_info){.session = session};
    strcpy(node->info.cluster, cluster);
    memset(node->info.id, 'a' + n, NODE_ID_SIZE);
    snprintf(text, sizeof text, "127.0.0.%d:8000", n + 1);
    address_parse(text, &node->info.peer);
    node->source = node->info.peer;
    node->source.port = (uint16_t)(40000 + n);
    node->discovery = discovery_new(&host, &node->info, broadcast, 5 + (uint64_t)n);
    discovery_start(node->discovery, w->now_ms);
}

static void stop(struct wire *w, int n) {
    discovery_free(w->node[n].discovery);
    w->node[n].discovery = NULL;
}

static void deliver(struct wire *w) {
    for (size_t i = 0; i < w->queued; i++) {
        struct node *to = w->queue[i].to;
        struct bytes data = buffer_bytes(&w->queue[i].data);
        uint8_t *exact = malloc(data.size + 1);
        memcpy(exact + 1, data.data, data.size);
        if (to->discovery != NULL)
            discovery_datagram(to->discovery, w->now_ms, &w->queue[i].from->source,
                               (struct bytes){exact + 1, data.size});
        free(exact);
        buffer_release(&w->queue[i].data);
    }
    w->queued = 0;
}

static void run(struct wire *w, uint64_t ms) {
    for (uint64_t i = 0; i < ms; i++) {
        deliver(w);
        w->now_ms++;
        for (int n = 0; n < NODES; n++)
            if (w->node[n].discovery != NULL)
                discovery_tick(w->node[n].discovery, w->now_ms);
    }
    deliver(w);
}

static struct wire *wire_new(int nodes) {
    struct wire *w = calloc(1, sizeof *w);
    w->now_ms = 50000;
    for (int n = 0; n < nodes; n++)
        start(w, n, 100, "kvnode", true);
    return w;
}

static void wire_free(struct wire *w) {
    deliver(w);
    for (int n = 0; n < NODES; n++)
        stop(w, n);
    free(w);
}

static size_t listed(struct wire *w, int n) {
    return membership_count(discovery_membership(w->node[n].discovery));
}

TEST(a_newcomer_is_answered_at_once_and_knows_everybody) {
    struct wire *w = wire_new(2);
    run(w, 2500);
    start(w, 2, 100, "kvnode", true);
    run(w, 2);
    EQUAL(listed(w, 2), 2);
    EQUAL(listed(w, 0), 2);
    EQUAL(w->node[2].joined, 2);
    EQUAL(w->node[2].removed, 0);
    wire_free(w);
}

TEST(it_announces_three_times_within_a_second_and_then_every_five) {
    struct wire *w = wire_new(1);
    run(w, 1000);
    EQUAL(w->node[0].broadcasts, 3);
    run(w, 60000);
    OK(w->node[0].broadcasts >= 3 + 10 && w->node[0].broadcasts <= 3 + 13);
    OK(w->node[0].first_gap_ms >= 4500 && w->node[0].first_gap_ms <= 5500);
    EQUAL(discovery_counters(w->node[0].discovery).own, (uint64_t)w->node[0].broadcasts);
    EQUAL(listed(w, 0), 0);
    wire_free(w);
}

TEST(a_change_of_role_is_announced_at_once_but_not_more_often_than_every_100_ms) {
    struct wire *w = wire_new(2);
    run(w, 3000);
    int before = w->node[0].broadcasts;
    discovery_update(w->node[0].discovery, w->now_ms, &w->node[0].info);
    EQUAL(w->node[0].broadcasts, before); /* nothing new */
    for (int i = 0; i < 50; i++) {
        w->node[0].info.term++;
        w->node[0].info.role = i % 2 ? NODE_LEADER : NODE_CANDIDATE;
        discovery_update(w->node[0].discovery, w->now_ms, &w->node[0].info);
        if (i == 0)
            EQUAL(w->node[0].broadcasts, before + 1);
        run(w, 1);
    }
    run(w, 200);
    EQUAL(w->node[0].broadcasts, before + 2);
    EQUAL(membership_at(discovery_membership(w->node[1].discovery), 0)->info.term, 50);
    OK(w->node[1].changed >= 2);
    wire_free(w);
}

static struct bytes announcement(struct buffer *out, struct node_info info, enum announce_kind kind) {
    struct announce a = {.kind = kind, .info = info};
    buffer_clear(out);
    announce_encode(out, &a);
    return buffer_bytes(out);
}

TEST(one_source_is_answered_once_in_100_ms_and_all_together_a_bounded_number) {
    struct wire *w = wire_new(1);
    struct node_info info = w->node[0].info;
    memset(info.id, 'z', NODE_ID_SIZE);
    struct buffer out = {0};
    struct address from;
    address_parse("127.0.0.9:40000", &from);
    for (int i = 0; i < 10; i++)
        discovery_datagram(w->node[0].discovery, w->now_ms, &from, announcement(&out, info, ANNOUNCE_NEW));
    EQUAL(w->node[0].answers, 1);
    w->now_ms += 100;
    discovery_datagram(w->node[0].discovery, w->now_ms, &from, announcement(&out, info, ANNOUNCE_NEW));
    EQUAL(w->node[0].answers, 2);
    discovery_datagram(w->node[0].discovery, w->now_ms, &from, announcement(&out, info, ANNOUNCE_ANSWER));
    discovery_datagram(w->node[0].discovery, w->now_ms, &from, announcement(&out, info, ANNOUNCE_HERE));
    EQUAL(w->node[0].answers, 2);
    for (int i = 0; i < 1000; i++) { /* forged sources */
        from.port = (uint16_t)(1000 + i);
        discovery_datagram(w->node[0].discovery, w->now_ms, &from, announcement(&out, info, ANNOUNCE_NEW));
    }
    EQUAL(w->node[0].answers, 2 + 31);
    buffer_release(&out);
    wire_free(w);
}

/* A newcomer's, without what fills it up. */
static struct bytes short_announcement(struct buffer *out, struct node_info info) {
    announcement(out, info, ANNOUNCE_HERE);
    uint8_t *content = out->data + out->start;
    size_t size = buffer_size(out) - 4;
    content[5] = ANNOUNCE_NEW;
    put_u32(content + size, crc32c(0, (struct bytes){content, size}));
    return buffer_bytes(out);
}

/* Or a forged source would be sent more than its forger spent. */
TEST(who_asks_with_less_than_the_answer_holds_gets_none) {
    struct wire *w = wire_new(1);
    struct node_info small = w->node[0].info, large = w->node[0].info;
    struct buffer out = {0};
    struct address from;
    memset(small.id, 'z', NODE_ID_SIZE);
    address_parse("127.0.0.9:40000", &from);
    address_parse("127.0.0.1:8000", &small.peer);
    small.api = small.peer;
    address_parse("[::1]:8000", &large.peer);
    large.api = large.peer;
    discovery_update(w->node[0].discovery, w->now_ms, &large);
    discovery_datagram(w->node[0].discovery, w->now_ms, &from, short_announcement(&out, small));
    EQUAL(w->node[0].answers, 0);
    small.peer = small.api = large.peer;
    discovery_datagram(w->node[0].discovery, w->now_ms, &from, announcement(&out, small, ANNOUNCE_NEW));
    EQUAL(w->node[0].answers, 1);
    buffer_release(&out);
    wire_free(w);
}

TEST(garbage_is_counted_by_kind_and_changes_nothing) {
    struct wire *w = wire_new(1);
    run(w, 10);
    struct discovery *d = w->node[0].discovery;
    struct discovery_counters before = discovery_counters(d);
    struct node_info info = w->node[0].info;
    memset(info.id, 'z', NODE_ID_SIZE);
    struct buffer out = {0};
    struct address from;
    address_parse("127.0.0.9:40000", &from);
    static uint8_t noise[2000];
    discovery_datagram(d, w->now_ms, &from, (struct bytes){noise, 0});
    discovery_datagram(d, w->now_ms, &from, (struct bytes){noise, 100});
    discovery_datagram(d, w->now_ms, &from, (struct bytes){noise, 2000});
    announcement(&out, info, ANNOUNCE_HERE);
    out.data[out.start + 4]++;
    for (int i = 0; i < 3; i++)
        discovery_datagram(d, w->now_ms, &from, buffer_bytes(&out));
    EQUAL(w->node[0].version, 1); /* told once */
    announcement(&out, info, ANNOUNCE_HERE);
    out.data[out.start + 20]++;
    discovery_datagram(d, w->now_ms, &from, buffer_bytes(&out));
    struct discovery_counters after = discovery_counters(d);
    EQUAL(after.received - before.received, 7);
    EQUAL(after.garbage - before.garbage, 2);
    EQUAL(after.oversized - before.oversized, 1);
    EQUAL(after.version - before.version, 3);
    EQUAL(after.corrupt - before.corrupt, 1);
    EQUAL(w->node[0].heard, 0);
    EQUAL(listed(w, 0), 0);
    buffer_release(&out);
    wire_free(w);
}

TEST(nodes_of_another_cluster_are_listed_apart_told_of_once_and_age_out) {
    struct wire *w = wire_new(1);
    start(w, 1, 5, "other", true);
    run(w, 1000);
    EQUAL(discovery_foreign_count(w->node[0].discovery), 1);
    TEXT_EQUAL(discovery_foreign_at(w->node[0].discovery, 0)->cluster, "other");
    EQUAL(listed(w, 0), 0);
    EQUAL(w->node[0].heard, 0);
    OK(w->node[0].answers > 0); /* so that it is listed there at once too */
    EQUAL(discovery_foreign_count(w->node[1].discovery), 1);
    EQUAL(w->node[0].foreign, 1);
    EQUAL(w->node[1].foreign, 1);
    EQUAL(listed(w, 1), 0);
    stop(w, 1);
    run(w, 92000);
    EQUAL(discovery_foreign_count(w->node[0].discovery), 0);
    struct buffer out = {0};
    for (int i = 0; i < 100; i++) {
        struct node_info info = {.session = 9, .cluster = "third"};
        memset(info.id, 'a', NODE_ID_SIZE);
        info.id[0] = (uint8_t)('A' + i % 26);
        info.id[1] = (uint8_t)('A' + i / 26);
        discovery_datagram(w->node[0].discovery, w->now_ms, &w->node[0].source,
                           announcement(&out, info, ANNOUNCE_HERE));
    }
    EQUAL(discovery_foreign_count(w->node[0].discovery), 64);
    buffer_release(&out);
    wire_free(w);
}

TEST(a_silent_node_is_suspected_and_removed_after_30_s) {
    struct wire *w = wire_new(2);
    run(w, 6000);
    stop(w, 1);
    run(w, 16000);
    EQUAL(membership_at(discovery_membership(w->node[0].discovery), 0)->state, MEMBERSHIP_SUSPECT);
    EQUAL(w->node[0].removed, 0);
    run(w, 16000);
    EQUAL(w->node[0].removed, 1);
    EQUAL(listed(w, 0), 0);
    wire_free(w);
}

TEST(a_farewell_removes_at_once_but_not_the_nodes_next_run) {
    struct wire *w = wire_new(2);
    run(w, 1000);
    struct node_info first = w->node[1].info;
    discovery_leave(w->node[1].discovery);
    run(w, 1);
    EQUAL(w->node[0].removed, 1);
    EQUAL(listed(w, 0), 0);
    stop(w, 1);
    start(w, 1, 101, "kvnode", true);
    run(w, 10);
    EQUAL(listed(w, 0), 1);
    struct buffer out = {0};
    discovery_datagram(w->node[0].discovery, w->now_ms, &w->node[1].source,
                       announcement(&out, first, ANNOUNCE_LEAVE));
    EQUAL(listed(w, 0), 1);
    EQUAL(w->node[0].removed, 1);
    buffer_release(&out);
    wire_free(w);
}

TEST(a_restart_with_a_new_session_replaces_the_row) {
    struct wire *w = wire_new(2);
    run(w, 1000);
    stop(w, 1);
    start(w, 1, 101, "kvnode", true);
    run(w, 1000);
    EQUAL(w->node[0].restarted, 1);
    EQUAL(listed(w, 0), 1);
    EQUAL(membership_at(discovery_membership(w->node[0].discovery), 0)->info.session, 101);
    wire_free(w);
}

TEST(another_process_with_the_own_id_is_handed_on_but_not_listed) {
    struct wire *w = wire_new(1);
    struct node_info clone = w->node[0].info;
    clone.session = 9;
    struct buffer out = {0};
    discovery_datagram(w->node[0].discovery, w->now_ms, &w->node[0].source,
                       announcement(&out, clone, ANNOUNCE_HERE));
    EQUAL(w->node[0].heard, 1);
    EQUAL(listed(w, 0), 0);
    buffer_release(&out);
    wire_free(w);
}

TEST(without_broadcast_nothing_is_sent_and_hellos_alone_fill_the_table) {
    struct wire *w = wire_new(0);
    start(w, 0, 1, "kvnode", false);
    start(w, 1, 1, "kvnode", true);
    run(w, 10000);
    EQUAL(w->node[0].broadcasts + w->node[0].answers, 0);
    EQUAL(listed(w, 0), 0);
    discovery_heard(w->node[0].discovery, w->now_ms, &w->node[1].info);
    EQUAL(listed(w, 0), 1);
    EQUAL(w->node[0].joined, 1);
    discovery_leave(w->node[0].discovery);
    EQUAL(w->node[0].broadcasts, 0);
    run(w, 31000);
    EQUAL(w->node[0].removed, 1);
    wire_free(w);
}

TEST(it_asks_to_be_called_no_earlier_than_something_is_due) {
    struct wire *w = wire_new(0);
    start(w, 0, 1, "kvnode", true);
    int calls = 0;
    while (w->now_ms < 50000 + 60000) {
        uint64_t next_ms = discovery_tick(w->node[0].discovery, w->now_ms);
        REQUIRE(next_ms > w->now_ms);
        w->now_ms = next_ms;
        w->queued = 0;
        for (int i = 0; i < 256; i++)
            buffer_release(&w->queue[i].data);
        calls++;
    }
    OK(calls <= 20);
    start(w, 1, 1, "kvnode", false);
    EQUAL(discovery_tick(w->node[1].discovery, w->now_ms), UINT64_MAX);
    wire_free(w);
}

TESTS(TAP(a_newcomer_is_answered_at_once_and_knows_everybody),
      TAP(it_announces_three_times_within_a_second_and_then_every_five),
      TAP(a_change_of_role_is_announced_at_once_but_not_more_often_than_every_100_ms),
      TAP(one_source_is_answered_once_in_100_ms_and_all_together_a_bounded_number),
      TAP(who_asks_with_less_than_the_answer_holds_gets_none),
      TAP(garbage_is_counted_by_kind_and_changes_nothing),
      TAP(nodes_of_another_cluster_are_listed_apart_told_of_once_and_age_out),
      TAP(a_silent_node_is_suspected_and_removed_after_30_s),
      TAP(a_farewell_removes_at_once_but_not_the_nodes_next_run),
      TAP(a_restart_with_a_new_session_replaces_the_row),
      TAP(another_process_with_the_own_id_is_handed_on_but_not_listed),
      TAP(without_broadcast_nothing_is_sent_and_hellos_alone_fill_the_table),
      TAP(it_asks_to_be_called_no_earlier_than_something_is_due))
