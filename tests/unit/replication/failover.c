/* How long nobody leads after the leader has gone, over many seeds. */
#include "tests/tap.h"
#include "tests/unit/replication/world.h"

#define SEEDS 300

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void run_until_leader(struct world *w, uint64_t most_ms) {
    for (uint64_t end = w->now_ms + most_ms; w->now_ms < end && world_leader(w) == NULL;)
        world_step(w);
}

/* Milliseconds until the next leader, and a write through it is committed. */
static uint64_t failover_ms(unsigned nodes, uint64_t seed, bool refused) {
    struct world *w = world_new(nodes, seed);
    w->delay_max_ms = 2;
    w->sync_max_ms = 3;
    world_form(w, nodes);
    for (unsigned i = 1; i <= nodes; i++)
        node_start(&w->nodes[i]);
    run_until_leader(w, 5000);
    world_run(w, 500 + seed % 97);
    struct node *leader = world_leader(w);
    uint64_t start = w->now_ms, before = w->committed_last;
    if (leader != NULL)
        node_stop(leader, refused, false);
    run_until_leader(w, 10000);
    while (w->now_ms < start + 10000 && w->committed_last == before)
        world_step(w);
    uint64_t took = w->now_ms - start;
    if (w->breach[0] != '\0')
        took = UINT64_MAX;
    world_free(w);
    return took;
}

static void measure(struct tap *tap, unsigned nodes, bool refused, uint64_t median_ms, uint64_t worst_ms) {
    uint64_t times[SEEDS];
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        times[seed] = failover_ms(nodes, seed + 1, refused);
    qsort(times, SEEDS, sizeof times[0], compare);
    printf("# %u nodes, %s: median %" PRIu64 " ms, 99 %% %" PRIu64 " ms, worst %" PRIu64 " ms\n", nodes,
           refused ? "refused" : "silent", times[SEEDS / 2], times[SEEDS * 99 / 100], times[SEEDS - 1]);
    OK(times[SEEDS / 2] <= median_ms);
    OK(times[SEEDS - 1] <= worst_ms);
}

TEST(a_killed_leader_is_replaced_within_100_ms) {
    measure(tap, 3, true, 60, 100);
    measure(tap, 5, true, 60, 150);
}

TEST(a_silent_leader_is_replaced_within_a_second) {
    measure(tap, 3, false, 500, 1000);
    measure(tap, 5, false, 500, 1000);
}

TESTS(TAP(a_killed_leader_is_replaced_within_100_ms), TAP(a_silent_leader_is_replaced_within_a_second))
