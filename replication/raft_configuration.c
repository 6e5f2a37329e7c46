/* The configurations that the log holds, and the members that follow from the newest one: in force from the
 * moment it is appended, out of force when it is truncated (Raft, section 6; bugs 23, 24).
 *
 * configurations[0] is the one that the log's first record found in force (a snapshot's, or none); those
 * after it are records of the log. So a snapshot at any index that the log reaches can name its
 * configuration. */
#include "replication/raft_internal.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define SCAN_SIZE (1024u * 1024) /* bytes of log read at a time */

const struct configuration *raft_configuration(const struct raft *r) {
    return &r->configurations[r->configuration_count - 1].configuration;
}

uint64_t raft_configuration_index(const struct raft *r) {
    return r->configurations[r->configuration_count - 1].index;
}

const struct configuration *raft_configuration_at(const struct raft *r, uint64_t index, uint64_t *at) {
    size_t i = r->configuration_count - 1;
    while (i > 0 && r->configurations[i].index > index)
        i--;
    *at = r->configurations[i].index;
    return &r->configurations[i].configuration;
}

const struct configuration *raft_configuration_committed(const struct raft *r, uint64_t *at) {
    return raft_configuration_at(r, r->commit, at);
}

/* Keeps what is known of members that stay. */
static void refresh_peers(struct raft *r) {
    const struct configuration *c = raft_configuration(r);
    struct raft_peer *fresh = calloc(MEMBERS_MAX, sizeof *fresh);
    if (fresh == NULL)
        err(1, "raft");
    size_t count = 0;
    r->joint = configuration_is_joint(c);
    r->own_votes = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct member *member = &c->members[i];
        unsigned votes = (unsigned)member->role & (VOTERS_OLD | VOTERS_NEW);
        if (member_id_equal(&member->id, &r->options.self)) {
            r->own_votes = votes;
            continue;
        }
        const struct raft_peer *known = raft_peer(r, &member->id);
        if (known != NULL) {
            fresh[count] = *known;
        } else {
            fresh[count].id = member->id;
            raft_peer_start(r, &fresh[count]);
        }
        fresh[count++].votes = votes;
    }
    memcpy(r->peers, fresh, sizeof r->peers);
    r->peer_count = count;
    free(fresh);
}

static void push(struct raft *r, uint64_t index, const struct configuration *configuration) {
    if (r->configuration_count == r->configuration_capacity) {
        r->configuration_capacity = r->configuration_capacity * 2 + 4;
        r->configurations =
            reallocarray(r->configurations, r->configuration_capacity, sizeof *r->configurations);
        if (r->configurations == NULL)
            err(1, "raft");
    }
    struct placed_configuration *last = &r->configurations[r->configuration_count++];
    last->index = index;
    last->configuration = *configuration;
}

void raft_configuration_push(struct raft *r, uint64_t index, const struct configuration *configuration) {
    assert(index > raft_configuration_index(r));
    push(r, index, configuration);
    refresh_peers(r);
}

void raft_configurations_truncate(struct raft *r, uint64_t index) {
    size_t count = r->configuration_count;
    while (r->configuration_count > 1 && raft_configuration_index(r) >= index)
        r->configuration_count--;
    if (r->configuration_count < count)
        refresh_peers(r);
}

void raft_configurations_replace(struct raft *r, uint64_t index, const struct configuration *configuration) {
    r->configuration_count = 0;
    push(r, index, configuration);
    refresh_peers(r);
}

/* Those before the log's first record are no longer asked for, except the last of them. */
void raft_configurations_prune(struct raft *r) {
    size_t gone = 0;
    while (gone + 1 < r->configuration_count && r->configurations[gone + 1].index < log_first(r->log))
        gone++;
    if (gone == 0)
        return;
    r->configuration_count -= gone;
    memmove(r->configurations, r->configurations + gone, r->configuration_count * sizeof *r->configurations);
}

enum raft_result raft_configuration_append(struct raft *r, const struct configuration *next) {
    struct buffer payload = {0};
    struct configuration decoded;
    configuration_encode(&payload, next);
    assert(configuration_decode(buffer_bytes(&payload), &decoded)); /* every follower must be able to */
    uint64_t size = log_size(r->log);
    enum log_result appended = log_append(r->log, r->state.term, ENTRY_CONFIGURATION, buffer_bytes(&payload));
    buffer_release(&payload);
    enum raft_result result = raft_appended(r, appended, size);
    if (result == RAFT_OK)
        raft_configuration_push(r, log_last(r->log), next);
    return result;
}

/* Then majorities of the two overlap (the thesis, section 4.1). */
static bool one_voter_differs(const struct configuration *joint) {
    size_t changes = 0;
    for (size_t i = 0; i < joint->count; i++)
        changes += joint->members[i].role != MEMBER_VOTER && joint->members[i].role != MEMBER_LEARNER;
    return changes <= 1;
}

enum raft_result raft_propose_configuration(struct raft *r, const struct configuration *next, bool at_once) {
    struct configuration first;
    enum raft_result may = raft_may_propose(r);
    if (may != RAFT_OK)
        return may;
    if (r->joint || !raft_term_committed(r) || raft_configuration_index(r) > r->commit)
        return RAFT_BUSY;
    assert(configuration_voters(next) >= 1);
    configuration_towards(raft_configuration(r), next, &first);
    assert(!at_once || one_voter_differs(&first));
    return raft_configuration_append(r, at_once ? next : &first);
}

static bool hears(const struct raft *r, enum voter_set set) {
    uint64_t heard = raft_reached_in(r, set, r->now_ms, offsetof(struct raft_peer, heard_ms));
    return r->now_ms - heard < r->options.election_min_ms;
}

/* A joint configuration that is committed is followed by the new one. Where the new voters fall silent
 * before, its own leader takes it back in the same term, while the old ones answer: as long as nobody can
 * have it as committed, every majority in use is one of the old voters too. PROTOCOL.md, "Configurations",
 * has the argument. */
void raft_configuration_finish(struct raft *r) {
    struct configuration next;
    uint64_t at = raft_configuration_index(r);
    if (r->role != RAFT_LEADER || !r->joint)
        return;
    bool committed = raft_term_committed(r) && at <= r->commit;
    bool futile = !committed && at >= r->term_start && !hears(r, VOTERS_NEW) && hears(r, VOTERS_OLD);
    if (!committed && !futile)
        return;
    configuration_after(raft_configuration(r), committed ? VOTERS_NEW : VOTERS_OLD, &next);
    raft_configuration_append(r, &next); /* without room on the disk: again in the next turn */
}

static bool load_one(struct raft *r, uint64_t index) {
    struct log_record record;
    struct configuration configuration;
    if (log_read(r->log, index, &record) != LOG_OK || !configuration_decode(record.payload, &configuration))
        return false;
    push(r, index, &configuration);
    return true;
}

/* The bytes of log beyond the commit. */
static bool count_uncommitted(struct raft *r) {
    uint64_t next = r->commit + 1 > log_first(r->log) ? r->commit + 1 : log_first(r->log), last;
    for (; next <= log_last(r->log); next = last + 1) {
        struct bytes slice;
        if (log_slice(r->log, next, SCAN_SIZE, &slice, &last) != LOG_OK)
            return false;
        r->appended += slice.size;
    }
    return true;
}

void raft_configurations_load(struct raft *r, const struct configuration *base, uint64_t index) {
    push(r, index, base);
    bool ok = count_uncommitted(r);
    uint64_t at = index + 1;
    while (ok && (at = log_configuration_from(r->log, at)) <= log_last(r->log))
        ok = load_one(r, at++);
    if (!ok)
        raft_fail(r);
    refresh_peers(r);
}
