/* Several consensus cores in one process, over simulated messages, disks and time, for the scenario runner
 * and the randomised test. Time goes in milliseconds; a node takes one turn in each in which something
 * happened to it.
 *
 * After every turn it checks: one leader a term, elected by votes that were given in it, once each and to
 * logs that are as good; what is committed anywhere never changes, and is on the disks of a majority; a new
 * leader has all of it; a commit index never goes back; a confirmed read saw every commit before it, and a
 * majority had heard of it. The first breach is kept. */
#ifndef TESTS_UNIT_REPLICATION_WORLD_H
#define TESTS_UNIT_REPLICATION_WORLD_H

#include "replication/raft.h"
#include "storage/hard_state.h"
#include "tests/unit/replication/disk.h"

#include <bsd/stdlib.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define WORLD_NODES   8 /* numbered from 1 */
#define WORLD_TERMS   4096
#define WORLD_INDEXES 65536
#define WORLD_PACKETS 65536
#define SNAPSHOT_SIZE (4u * 1024 * 1024) /* bytes: five round trips of chunks */

struct world;

/* What a snapshot of the toy state machine holds: the hash of everything committed. */
struct toy_snapshot {
    struct version at;
    uint64_t chain;
    struct configuration configuration;
    uint64_t configuration_index;
};

struct world_read {
    uint64_t sequence, term, commit;
};

struct node {
    struct world *world;
    unsigned number;
    struct member_id id;
    struct disk *disk;
    struct log *log;
    struct raft *raft;          /* NULL: not running */
    struct configuration first; /* that it starts from */
    struct toy_snapshot snapshot;
    struct toy_snapshot arriving;
    uint64_t arrived;
    bool touched, frozen, cut[WORLD_NODES + 1]; /* cut[n]: what it sends to n is lost */
    uint64_t skew_ms;                           /* its clock is ahead by this */
    uint64_t tick_ms, sync_ms;
    struct job *sync;
    uint64_t chain;                             /* hash of what it committed */
    uint64_t commit, term, configuration_index; /* as last seen */
    enum raft_role role;
    bool alone, joint;
    struct world_read read;
};

/* How often something happened that a run is to prove anything about. */
struct met {
    uint64_t installs, truncations, superseded; /* superseded: client records truncated */
    uint64_t transfers, reads, isolated_reads;  /* isolated: begun by a leader while a later one led */
    uint64_t late;                              /* messages of an earlier term than the receiver's */
    uint64_t joint, joint_ends, all_acked;      /* joint_ends: a leader's process ends in one */
    uint64_t split_joint;                       /* another's leads by it, and does not hear the new voters */
};

struct packet {
    uint64_t at_ms, sequence;
    unsigned from, to;
    struct buffer bytes;
};

struct committed {
    uint64_t term, chain;
};

struct world {
    uint64_t now_ms, sequence;
    unsigned count;
    struct node nodes[WORLD_NODES + 1];
    struct packet packets[WORLD_PACKETS];
    size_t packet_count;
    struct random random;
    uint64_t delay_max_ms, sync_max_ms;     /* 0: 1 ms */
    uint64_t election_min_ms, heartbeat_ms; /* 0: the defaults */
    uint64_t sync_exact_ms;                 /* of every sync; 0: at random */
    unsigned drop, duplicate, late;         /* of 1000 */
    uint64_t late_max_ms;                   /* of those that are late */
    struct met met;
    bool sync_never;
    size_t segment_size; /* 0: 64 KiB */
    enum ack_mode mode;
    FILE *trace; /* NULL: none */
    bool quiet;  /* commits are not traced */
    struct member_id leaders[WORLD_TERMS];
    uint8_t votes[WORLD_TERMS][WORLD_NODES + 1];      /* whom each voted for */
    uint64_t read_seen[WORLD_TERMS][WORLD_NODES + 1]; /* highest sequence in appends of the term's leader */
    struct committed committed[WORLD_INDEXES];
    uint64_t committed_last;
    char breach[256]; /* the first one; empty: none */
};

static inline struct node *world_node(struct world *w, unsigned number) {
    assert(number >= 1 && number <= WORLD_NODES);
    return &w->nodes[number];
}

__attribute__((format(printf, 2, 3))) static void world_breach(struct world *w, const char *format, ...) {
    if (w->breach[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->breach, sizeof w->breach, format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void node_trace(struct node *n, const char *format, ...) {
    if (n->world->trace == NULL)
        return;
    fprintf(n->world->trace, "    %5" PRIu64 "ms  %u ", n->world->now_ms, n->number);
    va_list args;
    va_start(args, format);
    vfprintf(n->world->trace, format, args);
    va_end(args);
    fputc('\n', n->world->trace);
}

static struct member_id world_id(unsigned number, uint64_t incarnation) {
    struct member_id id = {.incarnation = incarnation};
    char text[NODE_ID_SIZE + 1];
    snprintf(text, sizeof text, "node-%011u", number);
    memcpy(id.id, text, NODE_ID_SIZE);
    return id;
}

static unsigned world_number(const struct member_id *id) {
    char text[NODE_ID_SIZE + 1] = {0};
    memcpy(text, id->id, NODE_ID_SIZE);
    return (unsigned)atoi(text + 5);
}

/* By the node's own clock. */
static uint64_t node_now(const struct node *n) {
    return n->world->now_ms + n->skew_ms;
}

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 29;
}

static uint64_t chain_record(uint64_t chain, const struct log_record *record) {
    chain = mix(mix(mix(chain, record->term), record->index), (uint64_t)record->type);
    for (size_t i = 0; i < record->payload.size; i++)
        chain = mix(chain, record->payload.data[i]);
    return chain;
}

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

/* A candidate's log stays as it was when it asked. */
static void check_vote(struct node *n, struct node *candidate, uint64_t term) {
    struct world *w = n->world;
    assert(term < WORLD_TERMS);
    uint8_t *vote = &w->votes[term][n->number];
    if (*vote != 0 && *vote != candidate->number)
        world_breach(w, "%u votes twice in term %" PRIu64 ", for %u and %u", n->number, term, *vote,
                     candidate->number);
    *vote = (uint8_t)candidate->number;
    if (candidate->raft == NULL || candidate == n || raft_term(candidate->raft) != term ||
        raft_role(candidate->raft) != RAFT_CANDIDATE)
        return;
    uint64_t own = log_last_term(n->log), other = log_last_term(candidate->log);
    if (own > other || (own == other && log_last(n->log) > log_last(candidate->log)))
        world_breach(w, "%u votes for %u, whose log is worse", n->number, candidate->number);
}

/* Term and vote are on disk before anything that follows from them leaves. */
static void check_saved(struct node *n, const struct member_id *to, const struct message *m) {
    const struct member_id *vote = m->type == MESSAGE_VOTE ? &n->id : to;
    bool pre = m->type == MESSAGE_VOTE ? m->vote.pre : m->type == MESSAGE_VOTE_REPLY && m->vote_reply.pre;
    struct hard_state saved = {0};
    char why[160];
    if (pre || m->term == 0)
        return;
    hard_state_load(&n->disk->fs, &saved, why, sizeof why);
    if (saved.term != m->term)
        world_breach(n->world, "%u sends in term %" PRIu64 ", saved is %" PRIu64, n->number, m->term,
                     saved.term);
    if (m->type != MESSAGE_VOTE && (m->type != MESSAGE_VOTE_REPLY || !m->vote_reply.granted))
        return;
    if (memcmp(saved.vote_id, vote->id, NODE_ID_SIZE) != 0 || saved.vote_incarnation != vote->incarnation)
        world_breach(n->world, "%u votes in term %" PRIu64 " without having saved it", n->number, m->term);
    check_vote(n, &n->world->nodes[world_number(vote)], m->term);
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

/* What must hold. */

/* Of each set of voters a majority is not known to lack it. */
static bool has_majority(const struct node *leader,
                         bool (*has)(const struct node *leader, const struct node *voter)) {
    const struct configuration *c = raft_configuration(leader->raft);
    for (unsigned set = VOTERS_OLD; set <= VOTERS_NEW; set++) {
        size_t voters = 0, held = 0;
        for (size_t i = 0; i < c->count; i++) {
            const struct node *voter = &leader->world->nodes[world_number(&c->members[i].id)];
            if (!((unsigned)c->members[i].role & set))
                continue;
            voters++;
            held += voter == leader || !member_id_equal(&voter->id, &c->members[i].id) || has(leader, voter);
        }
        if (2 * held <= voters)
            return false;
    }
    return true;
}

static bool voted_for(const struct node *leader, const struct node *voter) {
    return leader->world->votes[raft_term(leader->raft)][voter->number] == leader->number;
}

/* What a process that has ended had is not looked at. */
static bool has_durable(const struct node *leader, const struct node *voter, uint64_t index) {
    uint64_t own, term;
    if (voter->raft == NULL || log_first(voter->log) > index || !log_term_at(leader->log, index, &own))
        return true;
    return log_durable(voter->log) >= index && log_term_at(voter->log, index, &term) && own == term;
}

static bool has_committed(const struct node *leader, const struct node *voter) {
    return has_durable(leader, voter, raft_commit(leader->raft));
}

static bool has_heard(const struct node *leader, const struct node *voter) {
    return leader->world->read_seen[leader->read.term][voter->number] >= leader->read.sequence;
}

static void check_acks(struct node *n) {
    unsigned voters, acks = raft_acks(n->raft, log_last(n->log), &voters), has = 0;
    const struct configuration *c = raft_configuration(n->raft);
    for (size_t i = 0; i < c->count; i++) {
        const struct node *voter = &n->world->nodes[world_number(&c->members[i].id)];
        bool unknown = voter->raft == NULL || !member_id_equal(&voter->id, &c->members[i].id) ||
                       raft_term(voter->raft) > raft_term(n->raft);
        has += member_votes(&c->members[i]) && (unknown || has_durable(n, voter, log_last(n->log)));
    }
    if (acks > has)
        world_breach(n->world, "%u tells %u acknowledgements of %" PRIu64 ", %u have it", n->number, acks,
                     log_last(n->log), has);
}

static void check_leader(struct node *n) {
    struct world *w = n->world;
    uint64_t term = raft_term(n->raft), at;
    assert(term < WORLD_TERMS);
    struct member_id *leader = &w->leaders[term];
    if (leader->incarnation != 0 && !member_id_equal(leader, &n->id))
        world_breach(w, "term %" PRIu64 " has two leaders, %u and %u", term, world_number(leader), n->number);
    if (leader->incarnation != 0)
        return;
    *leader = n->id;
    if (!has_majority(n, voted_for))
        world_breach(w, "%u leads in term %" PRIu64 " without a majority's votes", n->number, term);
    w->met.transfers += raft_cause(n->raft) == RAFT_CAUSE_TRANSFER;
    if (log_last(n->log) < w->committed_last)
        world_breach(w, "leader %u ends at %" PRIu64 ", committed is %" PRIu64, n->number, log_last(n->log),
                     w->committed_last);
    for (uint64_t i = log_first(n->log); i <= w->committed_last && i <= log_last(n->log); i++)
        if (!log_term_at(n->log, i, &at) || at != w->committed[i].term)
            world_breach(w, "leader %u lacks the committed index %" PRIu64, n->number, i);
}

static void check_commit(struct node *n) {
    struct world *w = n->world;
    uint64_t commit = raft_commit(n->raft);
    if (commit < n->commit)
        world_breach(w, "%u took its commit back from %" PRIu64 " to %" PRIu64, n->number, n->commit, commit);
    while (n->commit < commit) {
        struct log_record record;
        enum log_result result = log_read(n->log, ++n->commit, &record);
        assert(result == LOG_OK);
        n->chain = chain_record(n->chain, &record);
        assert(n->commit < WORLD_INDEXES);
        struct committed *c = &w->committed[n->commit];
        if (n->commit > w->committed_last) {
            w->committed_last = n->commit;
            *c = (struct committed){record.term, n->chain};
        } else if (c->term != record.term || c->chain != n->chain) {
            world_breach(w, "%u committed another record at %" PRIu64, n->number, n->commit);
        }
    }
}

static void check_read(struct node *n) {
    if (n->read.sequence == 0 || raft_role(n->raft) != RAFT_LEADER || raft_term(n->raft) != n->read.term) {
        n->read.sequence = 0;
        return;
    }
    if (raft_read_confirmed(n->raft) < n->read.sequence)
        return;
    node_trace(n, "read confirmed at %" PRIu64, raft_commit(n->raft));
    n->world->met.reads++;
    if (raft_commit(n->raft) < n->read.commit)
        world_breach(n->world, "%u confirmed a stale read", n->number);
    if (!has_majority(n, has_heard))
        world_breach(n->world, "%u confirmed a read of which no majority had heard", n->number);
    n->read.sequence = 0;
}

/* What all voters acknowledged as durable is on each of their disks. */
static void check_all_acked(struct node *n) {
    struct world *w = n->world;
    uint64_t index = raft_all_acked(n->raft), own, term;
    const struct configuration *c = raft_configuration(n->raft);
    if (w->sync_never || !log_term_at(n->log, index, &own))
        return;
    w->met.all_acked++;
    for (size_t i = 0; i < c->count; i++) {
        const struct node *voter = &w->nodes[world_number(&c->members[i].id)];
        if (!member_votes(&c->members[i]) || voter->raft == NULL ||
            !member_id_equal(&voter->id, &c->members[i].id) || raft_term(voter->raft) > raft_term(n->raft) ||
            log_first(voter->log) > index)
            continue;
        bool has = log_durable(voter->log) >= index && log_term_at(voter->log, index, &term) && own == term;
        if (!has)
            world_breach(w, "%u tells index %" PRIu64 " as acknowledged by all, %u lacks it", n->number,
                         index, voter->number);
    }
}

/* Two logs that have the same term at an index are the same up to it (Raft, section 5.3). */
static inline void world_check_logs(struct world *w) {
    for (unsigned a = 1; a <= w->count; a++)
        for (unsigned b = a + 1; b <= w->count; b++) {
            struct node *x = world_node(w, a), *y = world_node(w, b);
            if (x->raft == NULL || y->raft == NULL)
                continue;
            uint64_t i = log_last(x->log) < log_last(y->log) ? log_last(x->log) : log_last(y->log), s, t;
            bool same = false;
            for (; i > 0 && log_term_at(x->log, i, &s) && log_term_at(y->log, i, &t); i--) {
                if (same && s != t)
                    world_breach(w, "logs of %u and %u differ at %" PRIu64 " and agree later", a, b, i);
                same = same || s == t;
            }
        }
}

static const char *role_text(enum raft_role role) {
    static const char *const texts[] = {"follower", "candidate", "leader"};
    return texts[role];
}

static const char *cause_text(enum raft_cause cause) {
    static const char *const texts[] = {"none",        "founded",     "timeout", "link", "transfer",
                                        "higher term", "no majority", "removed", "alone"};
    return texts[cause];
}

static void trace_configuration(struct node *n) {
    uint64_t index = raft_configuration_index(n->raft);
    if (index == n->configuration_index || n->world->trace == NULL)
        return;
    n->configuration_index = index;
    const struct configuration *c = raft_configuration(n->raft);
    char text[256] = "";
    for (size_t i = 0; i < c->count; i++) {
        static const char *const roles[] = {
            [MEMBER_LEARNER] = "(learner)",        [MEMBER_OUTGOING] = "(votes no more)",
            [MEMBER_INCOMING] = "(comes to vote)", [MEMBER_VOTER] = "",
            [MEMBER_LEAVING] = "(leaves)",
        };
        char one[32];
        snprintf(one, sizeof one, " %u%s", world_number(&c->members[i].id), roles[c->members[i].role]);
        strlcat(text, one, sizeof text);
    }
    node_trace(n, "configuration at %" PRIu64 ":%s", index, text);
}

static void note_joint(struct node *n) {
    bool joint = configuration_is_joint(raft_configuration(n->raft));
    n->world->met.joint += joint && !n->joint;
    n->joint = joint;
}

static void node_observe(struct node *n) {
    struct raft *r = n->raft;
    assert(!raft_failed(r));
    enum raft_role role = raft_role(r);
    bool changed = role != n->role || raft_term(r) != n->term;
    if (changed && (role != RAFT_FOLLOWER || n->role == RAFT_LEADER))
        node_trace(n, "%s in term %" PRIu64 " (%s)", role_text(role), raft_term(r),
                   cause_text(raft_cause(r)));
    else if (changed && raft_term(r) != n->term)
        node_trace(n, "follower in term %" PRIu64, raft_term(r));
    n->role = role;
    n->term = raft_term(r);
    if (raft_alone(r) != n->alone)
        node_trace(n, raft_alone(r) ? "alone" : "no longer alone");
    n->alone = raft_alone(r);
    if (role == RAFT_LEADER) {
        check_leader(n);
        check_all_acked(n);
        note_joint(n);
    }
    trace_configuration(n);
    uint64_t before = n->commit;
    check_commit(n);
    if (role == RAFT_LEADER && !n->world->sync_never) {
        if (n->commit > before && !has_majority(n, has_committed))
            world_breach(n->world, "%u commits %" PRIu64 ", which no majority has", n->number, n->commit);
        check_acks(n);
    }
    if (n->commit > before && !n->world->quiet)
        node_trace(n, "commit %" PRIu64, n->commit);
    check_read(n);
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
