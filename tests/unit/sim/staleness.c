/* KV-Staleness-Ms is never less than the truth: what a follower shows lacks no write that was answered
 * earlier. */
#include "tests/unit/sim/asking.h"

#include <stdlib.h>

#define WRITES_MAX 4096

struct watch {
    struct asking *a;
    uint64_t done_us[WRITES_MAX]; /* when write i was answered */
    unsigned writes;
    unsigned stale, known, reads; /* reads that lack a write; those with an age; all */
    uint64_t least_ms, most_ms;   /* ages */
};

static void write_on(struct watch *w, unsigned machine, uint64_t us) {
    for (uint64_t end = w->a->sim->now_us + us; w->a->sim->now_us < end && w->writes < WRITES_MAX;) {
        char value[16];
        snprintf(value, sizeof value, "%u", w->writes);
        if (set(w->a, machine, "k", value) == 200)
            w->done_us[w->writes++] = w->a->sim->now_us;
        sim_run(w->a->sim, 3 * MS);
    }
}

/* The first write that the state shown lacks was answered no earlier than the age says. */
static bool read_is_no_older_than_said(struct watch *w, unsigned machine) {
    unsigned shown = 0;
    uint64_t begin = w->a->sim->now_us;
    const char *value;
    w->reads++;
    if (get(w->a, machine, "k", false) == 200 && (value = strstr(w->a->body, "\"value\":\"")) != NULL)
        shown = (unsigned)strtoul(value + 9, NULL, 10) + 1;
    w->known += w->a->staleness_known;
    if (w->a->staleness_known && w->reads > 1) {
        w->most_ms = w->a->staleness_ms > w->most_ms ? w->a->staleness_ms : w->most_ms;
        w->least_ms = w->a->staleness_ms < w->least_ms ? w->a->staleness_ms : w->least_ms;
    }
    if (shown >= w->writes)
        return true;
    w->stale++;
    return !w->a->staleness_known ||
           (begin < w->done_us[shown] || begin - w->done_us[shown] <= (w->a->staleness_ms + 2) * MS);
}

static void check(struct tap *tap, struct watch *w, unsigned machine) {
    if (!OK(read_is_no_older_than_said(w, machine)))
        printf("# it said %llu ms: %s\n", (unsigned long long)w->a->staleness_ms, w->a->body);
}

static struct watch *watch_new(unsigned machines, uint64_t seed, enum ack_mode ack) {
    struct watch *w = calloc(1, sizeof *w);
    w->a = asking_new(1, machines, seed, ack);
    w->least_ms = UINT64_MAX;
    return w;
}

static void watch_free(struct watch *w) {
    asking_free(w->a);
    free(w);
}

/* What came while it stood still is read one by one: old heartbeats prove nothing about now. */
TEST(a_follower_that_was_paused_says_how_far_behind_it_is_while_it_catches_up) {
    static const enum ack_mode modes[] = {ACK_QUORUM, ACK_ASYNC};
    for (unsigned mode = 0; mode < 2; mode++) {
        struct watch *w = watch_new(3, 7 + mode, modes[mode]);
        unsigned leader = leader_in(w->a, 0), follower = (leader + 1) % 3;
        REQUIRE(leader < 3);
        write_on(w, leader, SECOND);
        for (unsigned i = 0; i < 6; i++) {
            machine_pause(w->a->sim->machines[follower]);
            write_on(w, leader, 500 * MS + i * 700 * MS);
            machine_resume(w->a->sim->machines[follower]);
            for (unsigned reads = 0; reads < 60; reads++) {
                check(tap, w, follower);
                sim_run(w->a->sim, reads * 37);
            }
            sim_run(w->a->sim, SECOND);
        }
        OK(w->stale >= 6);
        watch_free(w);
    }
}

/* Two of five go on with a leader that was deposed, and does not step down: its commits are not all there is.
 */
TEST(a_deposed_leader_keeps_no_follower_current) {
    struct watch *w = watch_new(5, 3, ACK_ASYNC);
    unsigned old = leader_in(w->a, 0), follower = (old + 1) % 5, leader = MACHINES_MAX;
    REQUIRE(old < 5);
    write_on(w, old, 200 * MS);
    for (unsigned i = 0; i < 5; i++)
        for (unsigned j = 0; j < 5; j++)
            w->a->sim->blocked[i][j] = (i == old || i == follower) != (j == old || j == follower);
    for (uint64_t end = w->a->sim->now_us + 3 * SECOND; leader == MACHINES_MAX && w->a->sim->now_us < end;
         sim_run(w->a->sim, MS))
        for (unsigned i = 0; i < 5; i++)
            if (i != old && i != follower && raft_term_committed(raft_at(w->a, i)))
                leader = i;
    REQUIRE(leader < 5);
    for (unsigned i = 0; i < 40; i++) {
        write_on(w, leader, 10 * MS);
        check(tap, w, follower);
    }
    OK(w->stale > 0 && w->known > 30);
    watch_free(w);
}

/* It hears from a follower that it is deposed, and nothing from the new leader: what it took alone stays in
 * its state for a while. */
TEST(a_deposed_leader_says_no_age_while_its_state_has_what_is_not_committed) {
    struct watch *w = watch_new(3, 5, ACK_ASYNC);
    struct asking *a = w->a;
    unsigned first = leader_in(a, 0), second = (first + 1) % 3;
    REQUIRE(first < 3);
    write_on(w, first, 200 * MS);
    STATUS_IS(a, change(a, first, "transfer", second), 200); /* a follower before, with a proof */
    sim_run(a->sim, SECOND);
    REQUIRE(leader_in(a, 0) == second);
    for (unsigned i = 0; i < 3; i++)
        a->sim->blocked[i][second] = a->sim->blocked[second][i] = i != second;
    STATUS_IS(a, set(a, second, "k", "alone"), 200);
    sim_run(a->sim, 2 * SECOND);
    unsigned other = first;
    for (unsigned i = 0; i < 3; i++)
        if (i != second && raft_role(raft_at(a, i)) != RAFT_LEADER)
            other = i;
    a->sim->blocked[other][second] = a->sim->blocked[second][other] = false;
    sim_run(a->sim, 500 * MS);
    OK(raft_role(raft_at(a, second)) != RAFT_LEADER);
    STATUS_IS(a, get(a, second, "k", false), 200);
    OK(strstr(a->body, "alone") != NULL);
    OK(!a->staleness_known);
    for (unsigned i = 0; i < 3; i++)
        a->sim->blocked[second][i] = a->sim->blocked[i][second] = false;
    sim_run(a->sim, 3 * SECOND);
    STATUS_IS(a, get(a, second, "k", false), 200);
    OK(strstr(a->body, "alone") == NULL);
    OK(a->staleness_known);
    watch_free(w);
}

TEST(a_connected_follower_is_proven_current_several_times_a_second) {
    for (unsigned busy = 0; busy < 2; busy++) {
        struct watch *w = watch_new(3, 5, ACK_QUORUM);
        unsigned leader = leader_in(w->a, 0), follower = (leader + 2) % 3;
        REQUIRE(leader < 3);
        write_on(w, leader, 300 * MS);
        for (unsigned i = 0; i < 200; i++) {
            if (busy)
                write_on(w, leader, 5 * MS);
            else
                sim_run(w->a->sim, 7 * MS);
            check(tap, w, follower);
        }
        EQUAL(w->known, w->reads);
        printf("# %s: %llu to %llu ms\n", busy ? "with writes" : "idle", (unsigned long long)w->least_ms,
               (unsigned long long)w->most_ms);
        OK(w->most_ms < 200);
        watch_free(w);
    }
}

TESTS(TAP(a_follower_that_was_paused_says_how_far_behind_it_is_while_it_catches_up),
      TAP(a_deposed_leader_keeps_no_follower_current),
      TAP(a_deposed_leader_says_no_age_while_its_state_has_what_is_not_committed),
      TAP(a_connected_follower_is_proven_current_several_times_a_second))
