/* Many seeds of chaos: messages lost, repeated, late and out of order, processes killed, power cut,
 * partitions, clocks that jump, transfers, snapshots, learners and voters changed; the world checks the
 * invariants after every turn. Then it all heals and the group must make progress. CHAOS_SEEDS and
 * CHAOS_FIRST choose other seeds, CHAOS_STEPS their length; CHAOS_TRACE tells what happens. */
#include "tests/tap.h"
#include "tests/unit/replication/world.h"

struct chaos {
    struct world *w;
    unsigned voters;
    unsigned puts; /* of 1000 */
    unsigned faults;
    bool changes, snapshots;
    unsigned isolated; /* a leader that is cut off; 0: none */
};

static uint64_t below(struct chaos *c, uint64_t bound) {
    return random_below(&c->w->random, bound);
}

static struct node *any_node(struct chaos *c) {
    return world_node(c->w, 1 + (unsigned)below(c, c->w->count));
}

static void put_somewhere(struct chaos *c) {
    struct node *n = any_node(c);
    static const uint8_t value[4000];
    if (n->raft != NULL)
        node_put(n, "key", (struct bytes){value, 1 + below(c, c->snapshots ? 4000 : 20)});
}

static void read_at(struct chaos *c, struct node *n) {
    if (n->raft == NULL || (n->read.sequence != 0 && n->number != c->isolated))
        return;
    const struct node *newest = world_leader(c->w);
    uint64_t sequence = raft_read(n->raft, node_now(n));
    c->w->met.isolated_reads += sequence != 0 && newest != n;
    n->read = (struct world_read){sequence, raft_term(n->raft), c->w->committed_last};
    n->touched = true;
}

/* A leader that cannot be heard, or not by enough, and may not know it; another will commit meanwhile. */
static void isolate_leader(struct chaos *c) {
    struct node *leader = world_leader(c->w);
    if (leader == NULL)
        return;
    c->isolated = leader->number;
    unsigned with = (unsigned)below(c, c->w->count + 1); /* 0: alone */
    bool one_way = below(c, 4) == 0;
    leader->frozen = below(c, 2); /* its process stands still, but for what it is asked */
    for (unsigned i = 1; i <= c->w->count; i++) {
        if (i == leader->number || i == with)
            continue;
        for (unsigned side = 0; side < 2; side++) {
            unsigned from = side == 0 ? leader->number : with;
            c->w->nodes[from].cut[i] = true;
            c->w->nodes[i].cut[from] = !one_way;
        }
    }
}

static void cut_somewhere(struct chaos *c) {
    if (below(c, 2) == 0) {
        any_node(c)->cut[1 + below(c, c->w->count)] = true;
        return;
    }
    unsigned parts = (unsigned)below(c, 1u << c->w->count);
    for (unsigned a = 1; a <= c->w->count; a++)
        for (unsigned b = 1; b <= c->w->count; b++)
            c->w->nodes[a].cut[b] = (parts >> a & 1) != (parts >> b & 1);
}

static void heal(struct chaos *c) {
    c->isolated = 0;
    for (unsigned a = 1; a <= c->w->count; a++) {
        memset(c->w->nodes[a].cut, 0, sizeof c->w->nodes[a].cut);
        c->w->nodes[a].frozen = false;
        c->w->nodes[a].tick_ms = c->w->now_ms;
    }
}

/* One member comes, votes, or goes; or, by a joint configuration, several change at once. */
static void change_one(struct chaos *c, struct configuration *next, const struct node *about) {
    const struct member *known = configuration_find(next, &about->id);
    if (known == NULL && next->count < MEMBERS_MAX)
        configuration_add(next, &about->id, &(struct address){0}, &(struct address){0});
    else if (known->role == MEMBER_LEARNER && below(c, 3) > 0)
        next->members[known - next->members].role = MEMBER_VOTER;
    else if (known->role == MEMBER_VOTER && below(c, 3) == 0 && configuration_voters(next) > 2)
        next->members[known - next->members].role = MEMBER_LEARNER;
    else if (known->role == MEMBER_LEARNER || configuration_voters(next) > 2)
        configuration_remove(next, &about->id);
}

static void change_somewhere(struct chaos *c) {
    struct node *newest = world_leader(c->w),
                *leader = newest != NULL && below(c, 4) > 0 ? newest : any_node(c);
    if (leader->raft == NULL || raft_role(leader->raft) != RAFT_LEADER ||
        configuration_is_joint(raft_configuration(leader->raft)))
        return;
    struct configuration next = *raft_configuration(leader->raft);
    unsigned changes = 1 + (unsigned)below(c, 3);
    for (unsigned i = 0; i < changes; i++)
        change_one(c, &next, any_node(c));
    raft_propose_configuration(leader->raft, &next, changes == 1 && below(c, 2));
    leader->touched = true;
    if (below(c, 4) == 0) { /* its leader ends in the middle */
        for (uint64_t ms = below(c, 2 * c->w->delay_max_ms + 3); ms > 0; ms--)
            world_step(c->w);
        node_stop(leader, below(c, 2), !c->w->sync_never);
    }
}

/* Time goes on, with what clients do and nothing else. */
static void pass(struct chaos *c, uint64_t ms) {
    for (; ms > 0 && c->w->breach[0] == '\0'; ms--) {
        if (below(c, 1000) < c->puts)
            put_somewhere(c);
        if (below(c, 1000) < 50)
            read_at(c, any_node(c));
        world_step(c->w);
    }
}

/* All others vote from then on, and as many voters do no more; false where nothing came of it. */
static bool replace_voters(struct node *leader) {
    struct world *w = leader->world;
    struct configuration next = *raft_configuration(leader->raft);
    for (unsigned i = 1; i <= w->count && next.count < MEMBERS_MAX; i++)
        if (configuration_find(&next, &w->nodes[i].id) == NULL)
            configuration_add(&next, &w->nodes[i].id, &(struct address){0}, &(struct address){0});
    size_t come = 0;
    for (size_t m = 0; m < next.count; m++)
        come += next.members[m].role == MEMBER_LEARNER;
    for (size_t m = 0, go = come; m < next.count; m++) {
        struct member *member = &next.members[m];
        if (member->role == MEMBER_LEARNER)
            member->role = MEMBER_VOTER;
        else if (!member_id_equal(&member->id, &leader->id) && go > 0 && go--)
            member->role = MEMBER_LEARNER;
    }
    leader->touched = true;
    return come > 0 && raft_propose_configuration(leader->raft, &next, false) == RAFT_OK;
}

static void part(struct chaos *c, unsigned parts) {
    for (unsigned a = 1; a <= c->w->count; a++)
        for (unsigned b = 1; b <= c->w->count; b++)
            c->w->nodes[a].cut[b] = (parts >> a & 1) != (parts >> b & 1);
}

/* A leader changes the voters and is heard no more in the middle of it; another one leads, and is with the
 * voters before the change only, while the first one is with those after it. */
static void change_hands(struct chaos *c) {
    struct world *w = c->w;
    struct node *first = world_leader(w), *second = first;
    heal(c);
    if (first == NULL || configuration_is_joint(raft_configuration(first->raft)) || !replace_voters(first))
        return;
    pass(c, 1 + below(c, 2 * w->delay_max_ms + w->sync_max_ms + 2));
    for (unsigned i = 1; i <= w->count; i++)
        first->cut[i] = true;
    pass(c, below(c, w->delay_max_ms + 6));
    part(c, 1u << first->number);
    for (unsigned ms = 0; ms < 2000 && (second == NULL || second == first); ms++) {
        pass(c, 1);
        second = world_leader(w);
    }
    if (second == NULL || second == first || !configuration_is_joint(raft_configuration(second->raft)))
        return;
    unsigned with_first = 1u << first->number;
    const struct configuration *now = raft_configuration(second->raft);
    for (size_t m = 0; m < now->count; m++)
        with_first |= (unsigned)(now->members[m].role == MEMBER_INCOMING)
                      << world_number(&now->members[m].id);
    part(c, with_first & ~(1u << second->number));
    w->met.split_joint++;
    pass(c, 300 + below(c, 1200));
}

static void fault(struct chaos *c) {
    struct node *n = any_node(c);
    switch (below(c, 14)) {
    case 0:
        node_stop(n, below(c, 2), below(c, 2) && !c->w->sync_never);
        break;
    case 1:
    case 2:
        if (n->raft == NULL)
            node_start(n);
        break;
    case 3:
        cut_somewhere(c);
        break;
    case 4:
        heal(c);
        break;
    case 5:
        if (n->raft != NULL && raft_transfer(n->raft, node_now(n), NULL))
            n->touched = true;
        break;
    case 6:
        for (unsigned i = 1; c->snapshots && i <= c->w->count; i++)
            if (c->w->nodes[i].raft != NULL && below(c, 2))
                node_snapshot(&c->w->nodes[i]);
        break;
    case 7:
        n->skew_ms += below(c, 800);
        n->tick_ms = c->w->now_ms;
        break;
    case 8:
        node_stop(n, below(c, 2), !c->w->sync_never);
        node_start(n);
        break;
    case 9:
    case 10:
        for (uint64_t times = c->changes ? 1 + below(c, 2) : 0; times > 0; times--)
            change_somewhere(c);
        break;
    case 11:
        isolate_leader(c);
        break;
    case 12:
    case 13:
        if (c->changes)
            change_hands(c);
        break;
    }
}

static void rage(struct chaos *c, unsigned steps) {
    for (unsigned i = 0; i < steps && c->w->breach[0] == '\0'; i++) {
        if (below(c, 1000) < c->puts)
            put_somewhere(c);
        if (below(c, 1000) < 50)
            read_at(c, any_node(c));
        if (c->isolated != 0 && below(c, 1000) < 200)
            read_at(c, world_node(c->w, c->isolated));
        if (below(c, 1000) < c->faults)
            fault(c);
        world_step(c->w);
        if (i % 64 == 0)
            world_check_logs(c->w);
    }
}

/* Everybody runs and hears everybody: one more record is committed by all of the configuration. */
static bool recovers(struct chaos *c) {
    struct world *w = c->w;
    w->drop = w->duplicate = w->late = 0;
    w->delay_max_ms = w->sync_max_ms = 1;
    heal(c);
    for (unsigned i = 1; i <= w->count; i++)
        if (w->nodes[i].raft == NULL)
            node_start(&w->nodes[i]);
    uint64_t target = 0;
    for (unsigned ms = 0; ms < 20000; ms++) {
        world_step(w);
        struct node *leader = world_leader(w);
        if (ms == 5000)
            target = leader != NULL && node_put(leader, "last", bytes_of("one")) == RAFT_OK
                         ? log_last(leader->log)
                         : 0;
        if (ms < 5000 || leader == NULL || target == 0)
            continue;
        const struct configuration *members = raft_configuration(leader->raft);
        bool all = true;
        for (size_t m = 0; m < members->count; m++)
            all = all && raft_commit(w->nodes[world_number(&members->members[m].id)].raft) >= target;
        if (all)
            return true;
    }
    return false;
}

static struct chaos chaos_new(uint64_t seed) {
    struct world *w = world_new(0, seed);
    struct chaos c = {.w = w};
    w->trace = getenv("CHAOS_TRACE") != NULL ? stdout : NULL;
    static const unsigned sizes[] = {1, 2, 3, 3, 3, 4, 5};
    c.voters = sizes[below(&c, 7)];
    w->count = c.voters + (unsigned)below(&c, 3);
    w->mode = (enum ack_mode)below(&c, 3);
    w->drop = below(&c, 2) ? (unsigned)below(&c, 200) : 0;
    w->duplicate = below(&c, 2) ? (unsigned)below(&c, 200) : 0;
    w->delay_max_ms = 1 + (below(&c, 2) ? below(&c, 60) : 0);
    w->sync_max_ms = 1 + (below(&c, 2) ? below(&c, 60) : 0);
    w->late = below(&c, 2) ? (unsigned)below(&c, 100) : 0;
    w->late_max_ms = 1 + below(&c, 3000);
    if (below(&c, 2)) {
        w->heartbeat_ms = 1 + below(&c, 10);
        w->election_min_ms = 2 * w->heartbeat_ms + 1 + below(&c, 30);
    }
    c.puts = (unsigned)below(&c, 300);
    c.faults = (unsigned)below(&c, below(&c, 2) ? 30 : 150);
    c.changes = below(&c, 2);
    w->sync_never = below(&c, 4) == 0; /* then no power cuts: they may lose what was answered */
    c.snapshots = below(&c, 2);
    if (c.snapshots) {
        w->segment_size = 16 * 1024;
        c.puts += 100;
    }
    world_form(w, c.voters);
    for (unsigned i = 1; i <= w->count; i++)
        node_start(&w->nodes[i]);
    return c;
}

static uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

TEST(whatever_happens_to_messages_and_processes_committed_records_stay_and_progress_returns) {
    uint64_t first = setting("CHAOS_FIRST", 1), seeds = setting("CHAOS_SEEDS", 1000);
    uint64_t committed = 0;
    struct met met = {0};
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        struct chaos c = chaos_new(seed);
        rage(&c, (unsigned)setting("CHAOS_STEPS", 3000));
        bool recovered = c.w->breach[0] == '\0' && recovers(&c);
        world_check_logs(c.w);
        if (!OK(c.w->breach[0] == '\0') || !OK(recovered))
            printf("# seed %" PRIu64 ": %s\n", seed, c.w->breach[0] != '\0' ? c.w->breach : "no progress");
        committed += c.w->committed_last;
        for (size_t i = 0; i < sizeof met / sizeof(uint64_t); i++)
            ((uint64_t *)&met)[i] += ((uint64_t *)&c.w->met)[i];
        world_free(c.w);
    }
    printf("# %" PRIu64 " records committed, %" PRIu64 " superseded by %" PRIu64 " truncations, %" PRIu64
           " snapshots installed, %" PRIu64 " transfers, %" PRIu64 " reads confirmed, %" PRIu64
           " begun by a deposed leader, %" PRIu64 " messages of an earlier term, %" PRIu64
           " joint configurations, %" PRIu64 " of them with the leader's end, %" PRIu64
           " times all had acknowledged, %" PRIu64
           " leaders of another's joint configuration without its new voters\n",
           committed, met.superseded, met.truncations, met.installs, met.transfers, met.reads,
           met.isolated_reads, met.late, met.joint, met.joint_ends, met.all_acked, met.split_joint);
    OK(committed > seeds * 20);
    /* Of a run of many seeds: what did not occur was not proven. */
    OK(seeds < 500 || (met.superseded > seeds && met.truncations > seeds / 4 && met.installs > seeds / 8));
    OK(seeds < 500 || (met.transfers > seeds / 4 && met.joint > seeds / 4 && met.joint_ends > seeds / 16));
    OK(seeds < 500 || (met.reads > 10 * seeds && met.isolated_reads > seeds && met.late > 4 * seeds));
    OK(seeds < 500 || (met.all_acked > seeds && met.split_joint > seeds / 32));
}

TESTS(TAP(whatever_happens_to_messages_and_processes_committed_records_stay_and_progress_returns))
