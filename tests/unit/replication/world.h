/* Several consensus cores in one process, over simulated messages, disks and time, for the scenario runner
 * and the randomised test. Time goes in milliseconds; a node takes one turn in each in which something
 * happened to it, and after every turn is checked (world_checks.h). */
#ifndef TESTS_UNIT_REPLICATION_WORLD_H
#define TESTS_UNIT_REPLICATION_WORLD_H

#include "tests/unit/replication/world_checks.h"

/* The network. */

static uint64_t up_to(struct world *w, uint64_t most_ms) {
    return 1 + (most_ms > 1 ? random_below(&w->random, most_ms) : 0);
}

static void world_post(struct world *w, unsigned from, unsigned to, const struct message *m) {
    assert(w->packet_count < WORLD_PACKETS);
    struct packet *p = &w->packets[w->packet_count++];
    bool late = w->late > 0 && random_below(&w->random, 1000) < w->late;
    *p = (struct packet){
        w->now_ms + up_to(w, late ? w->late_max_ms : w->delay_max_ms), w->sequence++, from, to, {0}};
    message_encode(&p->bytes, m);
}

static void node_send(void *arg, const struct member_id *to, const struct message *m) {
    struct node *n = arg;
    struct world *w = n->world;
    unsigned number = world_number(to);
    check_saved(n, to, m);
    if (n->cut[number] || (w->drop > 0 && random_below(&w->random, 1000) < w->drop))
        return;
    if (!member_id_equal(to, &w->nodes[number].id))
        return; /* nobody bears that incarnation any more */
    world_post(w, n->number, number, m);
    if (w->duplicate > 0 && random_below(&w->random, 1000) < w->duplicate)
        world_post(w, n->number, number, m);
}

static void deliver(struct world *w, size_t position) {
    struct packet p = w->packets[position];
    w->packets[position] = w->packets[--w->packet_count];
    struct node *to = &w->nodes[p.to];
    if (to->raft != NULL && !w->nodes[p.from].cut[p.to]) {
        struct message m;
        struct bytes bytes = buffer_bytes(&p.bytes);
        uint8_t *exact = malloc(bytes.size);
        assert(exact != NULL);
        memcpy(exact, bytes.data, bytes.size);
        bool ok = message_decode((struct bytes){exact, bytes.size}, &m);
        assert(ok);
        w->met.late += m.term < raft_term(to->raft);
        raft_receive(to->raft, node_now(to), &w->nodes[p.from].id, &m);
        bool led = m.type == MESSAGE_APPEND && raft_term(to->raft) == m.term;
        if (led && w->read_seen[m.term][p.to] < m.append.read)
            w->read_seen[m.term][p.to] = m.append.read;
        to->touched = true;
        free(exact);
    }
    buffer_release(&p.bytes);
}

static void deliver_due(struct world *w) {
    for (;;) {
        size_t best = w->packet_count;
        for (size_t i = 0; i < w->packet_count; i++)
            if (w->packets[i].at_ms <= w->now_ms &&
                (best == w->packet_count || w->packets[i].at_ms < w->packets[best].at_ms ||
                 (w->packets[i].at_ms == w->packets[best].at_ms &&
                  w->packets[i].sequence < w->packets[best].sequence)))
                best = i;
        if (best == w->packet_count)
            return;
        deliver(w, best);
    }
}

/* What it sent may arrive after its end. */
static void drop_packets(struct world *w, unsigned number) {
    bool all = w->late == 0;
    for (size_t i = 0; i < w->packet_count;)
        if ((all && w->packets[i].from == number) || w->packets[i].to == number) {
            buffer_release(&w->packets[i].bytes);
            w->packets[i] = w->packets[--w->packet_count];
        } else {
            i++;
        }
}

/* Snapshots: the toy state, padded so that it takes several chunks. */

static enum log_result node_before_truncate(void *arg, uint64_t index) {
    struct node *n = arg;
    struct log_record record;
    node_trace(n, "overruled from %" PRIu64 " to %" PRIu64, index, log_last(n->log));
    n->world->met.truncations++;
    for (uint64_t i = index; i <= log_last(n->log) && log_read(n->log, i, &record) == LOG_OK; i++)
        n->world->met.superseded += record.type == ENTRY_PUT;
    if (index <= n->commit)
        world_breach(n->world, "%u truncates the committed index %" PRIu64, n->number, index);
    return LOG_OK;
}

static bool node_snapshot_offer(void *arg, struct version *at, uint64_t *total) {
    struct node *n = arg;
    *at = n->snapshot.at;
    *total = SNAPSHOT_SIZE;
    return n->snapshot.at.index > 0;
}

static bool node_snapshot_read(void *arg, struct version at, uint64_t offset, size_t size,
                               struct bytes *out) {
    struct node *n = arg;
    static uint8_t chunk[MESSAGE_CHUNK_SIZE];
    if (!version_equal(at, n->snapshot.at) || offset + size > SNAPSHOT_SIZE)
        return false;
    memset(chunk, (int)(at.index & 0xff), size);
    if (offset == 0)
        memcpy(chunk, &n->snapshot, sizeof n->snapshot);
    *out = (struct bytes){chunk, size};
    return true;
}

static void node_install(struct node *n) {
    n->snapshot = n->arriving;
    n->chain = n->snapshot.chain;
    enum log_result result = log_reset(n->log, n->snapshot.at);
    assert(result == LOG_OK);
    raft_installed(n->raft, n->snapshot.at, &n->snapshot.configuration, n->snapshot.configuration_index);
    n->commit = n->snapshot.at.index;
    node_trace(n, "installed snapshot at %" PRIu64, n->commit);
    n->world->met.installs++;
    if (n->world->committed[n->commit].chain != n->chain)
        world_breach(n->world, "%u installed another state at %" PRIu64, n->number, n->commit);
}

static bool node_snapshot_chunk(void *arg, struct version at, uint64_t total, uint64_t offset,
                                struct bytes chunk, uint64_t *next) {
    struct node *n = arg;
    if (!version_equal(n->arriving.at, at)) {
        n->arrived = 0;
        n->arriving.at = at;
    }
    assert(offset > 0 || chunk.size >= sizeof n->arriving);
    if (offset == n->arrived) {
        if (offset == 0)
            memcpy(&n->arriving, chunk.data, sizeof n->arriving);
        n->arrived += chunk.size;
    }
    *next = n->arrived;
    if (n->arrived == total) {
        node_install(n);
        n->arrived = 0;
        n->arriving.at = (struct version){0};
    }
    return true;
}

/* A node's life. */

static void node_synced(void *arg) {
    (void)arg;
}

static void node_start(struct node *n) {
    struct world *w = n->world;
    struct log_report report;
    struct log_options log_options = {.fs = &n->disk->fs,
                                      .segment_size = w->segment_size > 0 ? w->segment_size : 64 * 1024};
    enum log_result opened = log_open(&log_options, n->snapshot.at, &n->log, &report);
    if (opened != LOG_OK)
        fprintf(stderr, "node %u: %s\n", n->number, report.detail);
    assert(opened == LOG_OK);
    struct raft_options options = {
        .self = n->id,
        .log = n->log,
        .fs = &n->disk->fs,
        .commit = report.commit > n->snapshot.at.index ? report.commit : n->snapshot.at.index,
        .sync_always = !w->sync_never,
        .election_min_ms = w->election_min_ms,
        .election_max_ms = 2 * w->election_min_ms,
        .heartbeat_ms = w->heartbeat_ms,
        .seed = random_next(&w->random),
    };
    char why[160];
    if (hard_state_load(&n->disk->fs, &options.hard_state, why, sizeof why) != FILE_OK)
        options.hard_state = (struct hard_state){0};
    struct raft_host host = {
        .arg = n,
        .send = node_send,
        .before_truncate = node_before_truncate,
        .snapshot_offer = node_snapshot_offer,
        .snapshot_read = node_snapshot_read,
        .snapshot_chunk = node_snapshot_chunk,
    };
    bool snapshot = n->snapshot.at.index > 0;
    n->raft = raft_new(&options, &host, snapshot ? &n->snapshot.configuration : &n->first,
                       snapshot ? n->snapshot.configuration_index : 0, node_now(n));
    assert(!raft_failed(n->raft));
    n->tick_ms = w->now_ms;
    n->chain = n->snapshot.chain;
    n->commit = n->snapshot.at.index;
    n->role = RAFT_FOLLOWER;
    n->term = raft_term(n->raft);
    n->alone = false;
    n->read = (struct world_read){0};
    n->touched = true;
    for (unsigned i = 1; i <= w->count; i++)
        if (i != n->number && w->nodes[i].raft != NULL)
            raft_link(w->nodes[i].raft, node_now(&w->nodes[i]), &n->id, RAFT_LINK_UP);
}

/* The process ends. `refused`: the machine is up, so that others see it at once. `lose`: what was not synced.
 */
static void node_stop(struct node *n, bool refused, bool lose) {
    struct world *w = n->world;
    if (n->raft == NULL)
        return;
    w->met.joint_ends +=
        raft_role(n->raft) == RAFT_LEADER && configuration_is_joint(raft_configuration(n->raft));
    raft_free(n->raft);
    log_close(n->log);
    n->raft = NULL;
    n->sync = NULL;
    n->arrived = 0;
    n->arriving.at = (struct version){0};
    if (lose)
        disk_crash(n->disk);
    drop_packets(w, n->number);
    for (unsigned i = 1; refused && i <= w->count; i++)
        if (i != n->number && w->nodes[i].raft != NULL) {
            raft_link(w->nodes[i].raft, node_now(&w->nodes[i]), &n->id, RAFT_LINK_REFUSED);
            w->nodes[i].tick_ms = w->now_ms;
        }
}

/* An empty disk; the id stays, the incarnation does not. */
static inline void node_wipe(struct node *n) {
    file_system_free(&n->disk->fs);
    n->disk = disk_new();
    n->snapshot = (struct toy_snapshot){0};
    n->first = (struct configuration){0};
    n->id.incarnation++;
    for (size_t term = 0; term < WORLD_TERMS; term++)
        n->world->votes[term][n->number] = 0;
}

/* Time. */

static void node_turn(struct node *n) {
    struct world *w = n->world;
    if (n->sync != NULL && w->now_ms >= n->sync_ms) {
        n->sync->run(n->sync);
        n->sync = NULL;
        enum log_result result = log_sync_end(n->log);
        assert(result == LOG_OK);
        raft_synced(n->raft, node_now(n));
        n->touched = true;
    }
    if (w->now_ms >= n->tick_ms && !n->frozen) {
        n->tick_ms = raft_tick(n->raft, node_now(n)) - n->skew_ms;
        n->touched = true;
    }
    if (!n->touched)
        return;
    n->touched = false;
    raft_flush(n->raft, node_now(n));
    if (n->sync == NULL && (n->sync = log_sync_begin(n->log, node_synced, n)) != NULL)
        n->sync_ms = w->now_ms + (w->sync_exact_ms > 0 ? w->sync_exact_ms : up_to(w, w->sync_max_ms));
    if (!n->frozen) {
        n->tick_ms = raft_tick(n->raft, node_now(n)) - n->skew_ms; /* a host asks again after each turn */
    }
    node_observe(n);
}

static void world_step(struct world *w) {
    w->now_ms++;
    deliver_due(w);
    for (unsigned i = 1; i <= w->count; i++)
        if (w->nodes[i].raft != NULL)
            node_turn(&w->nodes[i]);
}

static inline void world_run(struct world *w, uint64_t ms) {
    for (uint64_t end = w->now_ms + ms; w->now_ms < end;)
        world_step(w);
}

static struct world *world_new(unsigned count, uint64_t seed) {
    struct world *w = calloc(1, sizeof *w);
    assert(w != NULL && count <= WORLD_NODES);
    w->count = count;
    w->mode = ACK_QUORUM;
    random_seed(&w->random, seed);
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        w->nodes[i] = (struct node){.world = w, .number = i, .id = world_id(i, 1), .disk = disk_new()};
    }
    return w;
}

/* The first `voters` nodes start from a common configuration, without having been founded. */
static void world_form(struct world *w, unsigned voters) {
    struct configuration c = {.group_id = 7, .mode = w->mode, .voters_max = VOTERS_MAX, .count = voters};
    for (unsigned i = 1; i <= voters; i++)
        c.members[i - 1] = (struct member){.id = w->nodes[i].id, .role = MEMBER_VOTER};
    for (unsigned i = 1; i <= voters; i++)
        w->nodes[i].first = c;
}

static void world_free(struct world *w) {
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        node_stop(&w->nodes[i], false, false);
        file_system_free(&w->nodes[i].disk->fs);
    }
    for (size_t i = 0; i < w->packet_count; i++)
        buffer_release(&w->packets[i].bytes);
    free(w);
}

/* The leader of the highest term among those that run. */
static inline struct node *world_leader(struct world *w) {
    struct node *leader = NULL;
    for (unsigned i = 1; i <= w->count; i++) {
        struct node *n = &w->nodes[i];
        if (n->raft != NULL && raft_role(n->raft) == RAFT_LEADER &&
            (leader == NULL || raft_term(n->raft) > raft_term(leader->raft)))
            leader = n;
    }
    return leader;
}

static inline enum raft_result node_put(struct node *n, const char *key, struct bytes value) {
    struct entry entry = {.key = bytes_of(key), .value = value};
    struct version at;
    n->touched = true;
    return raft_propose(n->raft, ENTRY_PUT, &entry, &at);
}

static inline void node_snapshot(struct node *n) {
    struct toy_snapshot *s = &n->snapshot;
    bool known = n->commit > 0 && log_term_at(n->log, n->commit, &s->at.term);
    if (!known)
        return;
    s->at.index = n->commit;
    s->chain = n->chain;
    s->configuration = *raft_configuration_at(n->raft, n->commit, &s->configuration_index);
    enum log_result result = log_compact(n->log, s->at, 0);
    assert(result == LOG_OK);
}

#endif
