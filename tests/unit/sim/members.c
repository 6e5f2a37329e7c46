/* Changes of members under failures, with whole nodes: who is told that it left, and what a group lives
 * through while it changes.
 *
 * SIM_SEEDS is the number of seeds of the random part, SIM_SEED the first. */
#include "tests/unit/sim/asking.h"

#include <stdlib.h>

#include "storage/random.h"

/* Runs until the group's leader lists that many members. */
static bool wait_members(struct asking *a, unsigned leader, size_t count) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end;) {
        if (raft_configuration(raft_at(a, leader))->count == count)
            return true;
        if (!sim_step(a->sim))
            break;
    }
    return false;
}

static bool wait_role(struct asking *a, unsigned machine, enum node_role role) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end; sim_run(a->sim, 50 * MS))
        if (node_self(a->sim->machines[machine]->node)->role == role)
            return true;
    return false;
}

static void cut(struct asking *a, unsigned machine, bool is) {
    for (unsigned i = 0; i < a->sim->options.machines; i++)
        if (i != machine)
            a->sim->blocked[i][machine] = a->sim->blocked[machine][i] = is;
}

static bool wait_adopted(struct asking *a, unsigned machine) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end && sim_step(a->sim);)
        if (node_self(a->sim->machines[machine]->node)->group_id != 0)
            return true;
    return false;
}

/* Node 1 is added and leaves again, having heard nothing of it, or no more than whom it joins. That was why
 * an earlier simulator's seeds 703118 (quorum), 652687591, 1678218537 and 1678218775 (async) did not heal: it
 * waited, a newcomer to itself and a former member to the leader. */
static void leaves_before_its_first_record(struct tap *tap, bool adopted, bool restarted) {
    struct asking *a = asking_make(1, 2, 3, ACK_QUORUM);
    struct machine *second = a->sim->machines[1];
    uint8_t id[NODE_ID_SIZE];
    REQUIRE(machine_start(a->sim->machines[0]) && machine_start(second));
    REQUIRE(wait_members(a, 0, 2));
    memcpy(id, node_self(second->node)->id, NODE_ID_SIZE);
    if (adopted)
        REQUIRE(wait_adopted(a, 1));
    else
        cut(a, 1, true);
    if (restarted)
        machine_kill(second);
    sim_run(a->sim, 20 * MS);
    struct buffer request = {0};
    struct address address = network_peer_address(1);
    request_members(&request, "leave", id, &address);
    STATUS_IS(a, ask(a, 0, &request), 200);
    cut(a, 1, false);
    if (restarted)
        REQUIRE(machine_start(second));
    EQUAL(raft_configuration(raft_at(a, 1))->count, 0);
    OK(wait_role(a, 1, NODE_REMOVED));
    STATUS_IS(a, get(a, 1, "k", false), 503);
    TEXT_EQUAL(a->error, "removed");
    sim_run(a->sim, 5 * SECOND);
    EQUAL(raft_configuration(raft_at(a, 0))->count, 1); /* it does not come back by itself */
    STATUS_IS(a, change(a, 0, "join", 1), 200);
    OK(wait_role(a, 1, NODE_FOLLOWER));
    STATUS_IS(a, set(a, 1, "k", "v"), 200);
    asking_free(a);
}

TEST(a_node_that_left_before_it_was_adopted_is_told_and_comes_back_by_hand) {
    leaves_before_its_first_record(tap, false, false);
}

TEST(a_node_that_left_before_its_first_record_and_has_started_again_since_is_told_too) {
    leaves_before_its_first_record(tap, true, true);
    leaves_before_its_first_record(tap, false, true);
}

static bool wait_voters(struct asking *a, unsigned leader, size_t count) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end; sim_run(a->sim, 50 * MS))
        if (configuration_voters(raft_configuration(raft_at(a, leader))) == count)
            return true;
    return false;
}

/* A write through any of those that run is answered soon. */
static bool takes_writes(struct asking *a) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end; sim_run(a->sim, 100 * MS))
        for (unsigned i = 0; i < a->sim->options.machines; i++)
            if (a->sim->machines[i]->node != NULL && set(a, i, "k", "v") == 200)
                return true;
    return false;
}

/* Bug 58: for 2 s a dead voter counted as heard, and a majority was found that was not there. */
TEST(a_voter_leaves_only_where_a_majority_of_the_rest_answers_after_it_was_asked_to) {
    for (uint64_t ms = 0; ms <= 2500; ms = 2 * ms + 1) {
        struct asking *a = asking_new(1, 3, ms + 1, ACK_QUORUM);
        unsigned leader = leader_in(a, 0), dead = (leader + 1) % 3, other = (leader + 2) % 3;
        REQUIRE(leader < 3);
        machine_power_cut(a->sim->machines[dead]); /* nobody is told */
        sim_run(a->sim, ms * MS);
        STATUS_IS(a, change(a, leader, "leave", other), 409);
        TEXT_EQUAL(a->error, "member_refused");
        TOOK_AT_MOST(a, 1000);
        OK(takes_writes(a));
        machine_power_on(a->sim->machines[dead]);
        REQUIRE(machine_start(a->sim->machines[dead]));
        sim_run(a->sim, 2 * SECOND);
        STATUS_IS(a, change(a, leader_in(a, 0), "leave", dead), 200);
        OK(takes_writes(a));
        asking_free(a);
    }
}

/* Bug 59: it left four voters of which two were up. The learner ends `us` after the leader lets it vote. */
static void learner_dies_as_it_votes(struct tap *tap, uint64_t us, bool told) {
    struct asking *a = asking_new(1, 4, 5, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), learner = 0;
    REQUIRE(leader < 4 && wait_voters(a, leader, 3));
    while (node_self(a->sim->machines[learner]->node)->role != NODE_LEARNER)
        REQUIRE(++learner < 4);
    unsigned dead = (leader + 1) % 4 == learner ? (leader + 2) % 4 : (leader + 1) % 4;
    struct member_id id = {.incarnation = node_self(a->sim->machines[learner]->node)->incarnation};
    memcpy(id.id, node_self(a->sim->machines[learner]->node)->id, NODE_ID_SIZE);
    machine_kill(a->sim->machines[dead]);
    bool votes = false;
    for (uint64_t end = a->sim->now_us + 40 * SECOND; !votes && a->sim->now_us < end && sim_step(a->sim);) {
        const struct member *member = configuration_find(raft_configuration(raft_at(a, leader)), &id);
        votes = member != NULL && member->role != MEMBER_LEARNER;
    }
    OK(votes);
    sim_run(a->sim, us);
    if (told)
        machine_kill(a->sim->machines[learner]);
    else
        machine_power_cut(a->sim->machines[learner]);
    OK(takes_writes(a));
    sim_run(a->sim, 40 * SECOND);
    OK(takes_writes(a));
    machine_power_on(a->sim->machines[learner]);
    REQUIRE(machine_start(a->sim->machines[learner]));
    sim_run(a->sim, 3 * SECOND);
    OK(wait_voters(a, leader_in(a, 0), 3) && takes_writes(a));
    asking_free(a);
}

TEST(a_learner_that_dies_as_it_takes_a_silent_voters_place_stops_nobody) {
    for (uint64_t us = 0; us <= 64000; us = 2 * us + 100) {
        learner_dies_as_it_votes(tap, us, true);
        learner_dies_as_it_votes(tap, us, false);
    }
}

/* Two learners lose their power `ms` after they came, when nobody is told yet; then the leader ends. */
static void learners_die_before_they_vote(struct tap *tap, uint64_t ms, unsigned *count) {
    struct asking *a = asking_make(1, 5, 6, ACK_QUORUM);
    a->sim->options.voters_max = 5;
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(machine_start(a->sim->machines[i]));
    unsigned leader = 0;
    REQUIRE(wait_voters(a, leader, 3));
    REQUIRE(machine_start(a->sim->machines[3]) && machine_start(a->sim->machines[4]));
    REQUIRE(wait_members(a, leader, 5));
    sim_run(a->sim, ms * MS);
    bool before = !configuration_is_joint(raft_configuration(raft_at(a, leader))) &&
                  configuration_voters(raft_configuration(raft_at(a, leader))) == 3;
    machine_power_cut(a->sim->machines[3]);
    machine_power_cut(a->sim->machines[4]);
    for (uint64_t end = a->sim->now_us + 3 * SECOND; before && a->sim->now_us < end && sim_step(a->sim);)
        if (configuration_is_joint(raft_configuration(raft_at(a, leader))))
            break;
    if (before) {
        OK(!configuration_is_joint(raft_configuration(raft_at(a, leader))));
        machine_kill(a->sim->machines[leader]);
        OK(takes_writes(a));
    }
    *count += before;
    asking_free(a);
}

TEST(learners_that_die_just_before_they_would_vote_are_not_counted_as_there) {
    unsigned before = 0;
    for (uint64_t ms = 0; ms <= 150; ms += 5)
        learners_die_before_they_vote(tap, ms, &before);
    OK(before >= 10);
}

/* ---- at random: crashes that a group can bear, at any moment of any change ---- */

struct torture {
    struct asking *a;
    struct random random;
    unsigned crashes, changing, wipes, absences, leaves; /* how often */
    unsigned replaced;
};

static uint64_t pick(struct torture *t, uint64_t bound) {
    return random_below(&t->random, bound);
}

static bool runs(const struct torture *t, const struct member_id *id, unsigned without) {
    for (unsigned i = 0; i < t->a->sim->options.machines; i++) {
        const struct node *node = t->a->sim->machines[i]->node;
        if (i != without && node != NULL && node_self(node)->incarnation == id->incarnation &&
            memcmp(node_self(node)->id, id->id, NODE_ID_SIZE) == 0)
            return true;
    }
    return false;
}

/* Of the voters, a majority runs without that machine. */
static bool majority_runs(const struct torture *t, const struct configuration *c, unsigned without) {
    size_t there = 0;
    for (size_t m = 0; m < c->count; m++)
        there += c->members[m].role == MEMBER_VOTER && runs(t, &c->members[m].id, without);
    return 2 * there > configuration_voters(c);
}

/* Whose log is the best. */
static const struct raft *best_log(const struct torture *t) {
    const struct raft *best = NULL;
    struct version last = {0, 0};
    for (unsigned i = 0; i < t->a->sim->options.machines; i++) {
        struct node *node = t->a->sim->machines[i]->node;
        if (node == NULL)
            continue;
        const struct log *log = replica_log(node_replica(node));
        struct version at = {log_last_term(log), log_last(log)};
        if (best == NULL || at.term > last.term || (at.term == last.term && at.index > last.index)) {
            best = raft_at(t->a, i);
            last = at;
        }
    }
    return best;
}

/* A change of the voters is under way. */
static bool changes_now(const struct torture *t) {
    const struct raft *raft = best_log(t);
    uint64_t at;
    return raft != NULL &&
           (configuration_is_joint(raft_configuration(raft)) ||
            !configuration_same_voters(raft_configuration(raft), raft_configuration_committed(raft, &at)));
}

/* One crash that the group could bear before the change that is under way, if one is; a pair bears none. What
 * somebody asked for by hand may leave it with less to spare. */
static bool bears(const struct torture *t, unsigned without, bool by_hand) {
    const struct configuration *now = raft_configuration(best_log(t));
    struct configuration old = *now, next = *now;
    if (configuration_is_joint(now)) {
        configuration_after(now, VOTERS_OLD, &old);
        configuration_after(now, VOTERS_NEW, &next);
    }
    return majority_runs(t, &old, without) &&
           ((!by_hand && configuration_voters(&next) > 2) || majority_runs(t, &next, without));
}

static void crash(struct torture *t, unsigned machine) {
    struct machine *m = t->a->sim->machines[machine];
    t->crashes++;
    t->changing += changes_now(t);
    if (pick(t, 2))
        machine_kill(m);
    else
        machine_power_cut(m);
}

static void start_again(struct torture *t, unsigned machine) {
    struct machine *m = t->a->sim->machines[machine];
    machine_power_on(m);
    if (m->node == NULL && !machine_start(m))
        sim_violated(t->a->sim, "node %u does not start: %s", machine + 1, m->last_failure);
}

static unsigned any_down(struct torture *t) {
    unsigned machines = t->a->sim->options.machines, from = (unsigned)pick(t, machines);
    for (unsigned i = 0; i < machines; i++)
        if (t->a->sim->machines[(from + i) % machines]->node == NULL)
            return (from + i) % machines;
    return MACHINES_MAX;
}

/* Until a change of the voters is under way, or that long. */
static void await_change(struct torture *t, uint64_t us) {
    for (uint64_t end = t->a->sim->now_us + us; t->a->sim->now_us < end && sim_step(t->a->sim);)
        if (changes_now(t))
            return;
}

static void crash_one(struct torture *t) {
    struct sim *sim = t->a->sim;
    unsigned machine = (unsigned)pick(t, sim->options.machines), down = any_down(t);
    if (down < MACHINES_MAX && pick(t, 2))
        start_again(t, down);
    if (pick(t, 4) > 0)
        await_change(t, pick(t, 60) * SECOND);
    sim_run(sim, pick(t, 3) * pick(t, 2000));
    if (sim->machines[machine]->node == NULL || !bears(t, machine, false))
        return;
    crash(t, machine);
    if (pick(t, 2)) {
        machine_wipe(sim->machines[machine]);
        t->wipes++;
    }
}

/* Leaves through any other; a crash may come right then. */
static void leave_one(struct torture *t) {
    struct sim *sim = t->a->sim;
    unsigned about = (unsigned)pick(t, sim->options.machines),
             through = (unsigned)pick(t, sim->options.machines);
    struct buffer request = {0};
    if (sim->machines[about]->node == NULL || sim->machines[through]->node == NULL || about == through)
        return;
    bool removed = node_self(sim->machines[about]->node)->role == NODE_REMOVED;
    const struct node_info *info = node_self(sim->machines[about]->node);
    request_members(&request, removed ? "join" : "leave", info->id, &info->peer);
    ask_only(t->a, through, &request);
    t->leaves++;
    if (pick(t, 2))
        await_change(t, pick(t, 300) * MS);
    unsigned machine = (unsigned)pick(t, sim->options.machines);
    if (pick(t, 2) && sim->machines[machine]->node != NULL && bears(t, machine, true))
        crash(t, machine);
    sim_run(sim, 6 * SECOND);
    if (t->a->status == 0)
        sim_client_give_up(&t->a->client);
}

static void step_torture(struct torture *t) {
    struct sim *sim = t->a->sim;
    unsigned down = any_down(t);
    switch (pick(t, 7)) {
    case 0:
    case 1:
    case 2:
        crash_one(t);
        break;
    case 3:
        leave_one(t);
        break;
    case 4:
    case 5:
        if (down < MACHINES_MAX)
            start_again(t, down);
        break;
    case 6:
        sim_run(sim, (31 + pick(t, 30)) * SECOND);
        t->absences += down < MACHINES_MAX;
        break;
    }
    sim_run(sim, pick(t, 2000) * MS);
}

/* All come back, whoever left joins again, and all are members that follow. */
static bool comes_to_rest(struct torture *t) {
    struct asking *a = t->a;
    unsigned machines = a->sim->options.machines;
    for (unsigned i = 0; i < machines; i++)
        start_again(t, i);
    for (uint64_t end = a->sim->now_us + 60 * SECOND; a->sim->now_us < end; sim_run(a->sim, SECOND)) {
        unsigned members = 0, leader = leader_in(a, 0);
        for (unsigned i = 0; i < machines && leader < machines; i++) {
            enum node_role role = node_self(a->sim->machines[i]->node)->role;
            members += role != NODE_REMOVED && role != NODE_NEWCOMER;
            if (role == NODE_REMOVED)
                change(a, leader, "join", i);
        }
        if (members == machines && !configuration_is_joint(raft_configuration(raft_at(a, leader))))
            return true;
    }
    return false;
}

static void torture(struct tap *tap, uint64_t seed, struct torture *totals) {
    struct torture t = {0};
    random_seed(&t.random, seed);
    unsigned machines = 3 + (unsigned)pick(&t, 6);
    t.a = asking_make(1, machines, seed, pick(&t, 3) == 0 ? ACK_ASYNC : ACK_QUORUM);
    t.a->sim->options.voters_max = 3 + 2 * (uint8_t)pick(&t, 3);
    asking_start(t.a);
    bool ok = takes_writes(t.a);
    for (unsigned i = 0; ok && i < 60; i++) {
        step_torture(&t);
        ok = takes_writes(t.a) && t.a->sim->violation[0] == '\0';
    }
    if (!OK(ok))
        printf("# seed %llu, %u nodes: a majority runs and takes no write after %llu s %s\n",
               (unsigned long long)seed, machines, (unsigned long long)(t.a->sim->now_us / SECOND),
               t.a->sim->violation);
    else if (!OK(comes_to_rest(&t)))
        printf("# seed %llu: not all became members again\n", (unsigned long long)seed);
    totals->crashes += t.crashes;
    totals->changing += t.changing;
    totals->wipes += t.wipes;
    totals->absences += t.absences;
    totals->leaves += t.leaves;
    asking_free(t.a);
}

TEST(no_crash_that_a_group_can_bear_stops_it_at_any_moment_of_a_change) {
    const char *first = getenv("SIM_SEED"), *count = getenv("SIM_SEEDS");
    uint64_t from = first != NULL ? strtoull(first, NULL, 10) : 1,
             seeds = count != NULL ? strtoull(count, NULL, 10) : 30;
    struct torture totals = {0};
    for (uint64_t seed = from; seed < from + seeds; seed++)
        torture(tap, seed, &totals);
    printf("# %u crashes, %u of them while voters changed, %u disks wiped, %u absences of more than 30 s, %u "
           "asked to "
           "leave or join\n",
           totals.crashes, totals.changing, totals.wipes, totals.absences, totals.leaves);
    OK(seeds < 30 || (totals.crashes > 4 * seeds && totals.changing > seeds && totals.wipes > seeds &&
                      totals.absences > seeds && totals.leaves > seeds));
}

TESTS(TAP(a_voter_leaves_only_where_a_majority_of_the_rest_answers_after_it_was_asked_to),
      TAP(learners_that_die_just_before_they_would_vote_are_not_counted_as_there),
      TAP(a_learner_that_dies_as_it_takes_a_silent_voters_place_stops_nobody),
      TAP(a_node_that_left_before_it_was_adopted_is_told_and_comes_back_by_hand),
      TAP(a_node_that_left_before_its_first_record_and_has_started_again_since_is_told_too),
      TAP(no_crash_that_a_group_can_bear_stops_it_at_any_moment_of_a_change))
