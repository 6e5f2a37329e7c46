/* What must hold in a world of consensus cores (world.h): when a node sends, and after each of its turns.
 *
 * One leader a term, elected by votes that were given in it, once each and to logs that are as good; what is
 * committed anywhere never changes, and is on the disks of a majority; a new leader has all of it; a commit
 * index never goes back; a confirmed read saw every commit before it, and a majority had heard of it. The
 * first breach is kept. */
#ifndef TESTS_UNIT_REPLICATION_WORLD_CHECKS_H
#define TESTS_UNIT_REPLICATION_WORLD_CHECKS_H

#include "tests/unit/replication/world_parts.h"

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

#endif
