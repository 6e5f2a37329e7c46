/* What a node says of itself in the states that it gets into: whole nodes in the simulator, asked over HTTP.
 */
#include "tests/unit/sim/asking.h"

#define HEALTH  "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define READY   "GET /health?ready=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define METRICS "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define CLUSTER "GET /cluster HTTP/1.1\r\nHost: localhost\r\n\r\n"

static bool says(struct asking *a, unsigned machine, const char *question, const char *text) {
    ask_text(a, machine, question);
    return strstr(a->body, text) != NULL;
}

/* /health shows the status, and ready=1 and the metric agree with it. */
static void is(struct tap *tap, struct asking *a, unsigned machine, const char *status, bool ready) {
    char text[64];
    snprintf(text, sizeof text, "\"status\":\"%s\"", status);
    if (!OK(says(a, machine, HEALTH, text)))
        printf("# wanted %s of %u: %s\n", status, machine, a->body);
    bool healthy = strcmp(status, "healthy") == 0;
    OK((strstr(a->body, "\"reason\":") == NULL) == healthy &&
       (strstr(a->body, "\"fix\":") == NULL) == healthy);
    STATUS_IS(a, ask_text(a, machine, READY), ready ? 200 : 503);
    OK(ready || strcmp(a->error, "not_ready") == 0);
    OK(says(a, machine, METRICS, ready ? "\nkvnode_ready 1\n" : "\nkvnode_ready 0\n"));
    snprintf(text, sizeof text, "\nkvnode_health{status=\"%s\"} 1\n", status);
    OK(strstr(a->body, text) != NULL);
}

/* The node is asked for its status until it has this one. */
static bool becomes(struct asking *a, unsigned machine, const char *status) {
    char text[64];
    snprintf(text, sizeof text, "\"status\":\"%s\"", status);
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end; sim_run(a->sim, 20 * MS))
        if (says(a, machine, HEALTH, text))
            return true;
    printf("# %u does not become %s: %s\n", machine, status, a->body);
    return false;
}

/* The id of a machine whose node runs. */
static const char *id_at(const struct asking *a, unsigned machine, char out[NODE_ID_SIZE + 1]) {
    memcpy(out, node_self(a->sim->machines[machine]->node)->id, NODE_ID_SIZE);
    out[NODE_ID_SIZE] = '\0';
    return out;
}

static void cut(struct asking *a, unsigned machine, bool off) {
    for (unsigned i = 0; i < a->sim->options.machines; i++)
        a->sim->blocked[i][machine] = a->sim->blocked[machine][i] = off && i != machine;
}

struct log {
    unsigned missing, serving, files;
    bool two_voters_after; /* the line on serving */
    char text[1200];
};

static void logged(void *arg, struct machine *m, const char *event, const char *text) {
    struct log *log = arg;
    (void)m;
    bool missing = strcmp(event, "no_majority") == 0, serving = strcmp(event, "serving") == 0;
    log->missing += missing;
    log->serving += serving;
    log->files += strcmp(event, "files_missing") == 0;
    if (serving || strcmp(event, "two_voters") == 0)
        log->two_voters_after = !serving;
    if (missing || serving)
        snprintf(log->text, sizeof log->text, "%s", text);
}

static void listen(struct asking *a, struct log *log) {
    *log = (struct log){0};
    a->sim->said = logged;
    a->sim->said_arg = log;
}

/* ---- ready means that it serves ---- */

/* From now on: asked every 2 ms whether it is ready; once it is a write is answered at once. */
static void serves_once_ready(struct tap *tap, struct asking *a, unsigned machine, uint64_t within_us) {
    uint64_t end = a->sim->now_us + within_us;
    while (a->sim->now_us < end && ask_text(a, machine, READY) != 200)
        sim_run(a->sim, 2 * MS);
    STATUS_IS(a, a->status, 200);
    STATUS_IS(a, set(a, machine, "k", "v"), 200);
    TOOK_AT_MOST(a, 100);
    STATUS_IS(a, get(a, machine, "k", true), 200);
    TOOK_AT_MOST(a, 100);
    is(tap, a, machine, "healthy", true);
}

TEST(a_fresh_leader_is_ready_when_it_serves_and_not_half_a_second_before) {
    struct asking *a = asking_make(1, 1, 1, ACK_ASYNC);
    machine_start(a->sim->machines[0]);
    is(tap, a, 0, "waiting", false);
    OK(becomes(a, 0, "joining"));
    is(tap, a, 0, "joining", false);
    serves_once_ready(tap, a, 0, 3 * SECOND);
    asking_free(a);
}

TEST(each_node_is_ready_when_it_serves_after_a_start_and_after_its_leader_died) {
    for (unsigned i = 0; i < 3; i++) {
        struct asking *a = asking_make(1, 3, 1, i == 0 ? ACK_ASYNC : ACK_QUORUM);
        for (unsigned machine = 0; machine < 3; machine++)
            machine_start(a->sim->machines[machine]);
        serves_once_ready(tap, a, i, 5 * SECOND);
        sim_run(a->sim, 5 * SECOND);
        unsigned leader = leader_in(a, 0);
        machine_kill(a->sim->machines[leader]);
        serves_once_ready(tap, a, (leader + 1) % 3, 5 * SECOND);
        serves_once_ready(tap, a, (leader + 2) % 3, 5 * SECOND);
        asking_free(a);
    }
}

static bool leads(struct asking *a, unsigned machine) {
    return raft_role(raft_at(a, machine)) == RAFT_LEADER;
}

TEST(a_leader_is_not_ready_before_a_majority_has_confirmed_it) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned old = leader_in(a, 0), one = (old + 1) % 3, other = (old + 2) % 3;
    machine_kill(a->sim->machines[old]);
    while (!leads(a, one) && !leads(a, other) && sim_step(a->sim)) {
    }
    unsigned leader = leads(a, one) ? one : other;
    cut(a, leader, true);
    REQUIRE(!raft_term_committed(raft_at(a, leader)));
    is(tap, a, leader, "starting", false);
    cut(a, leader, false);
    serves_once_ready(tap, a, leader, 5 * SECOND);
    asking_free(a);
}

TEST(a_node_that_waits_to_join_says_so_and_what_to_do) {
    struct asking *a = asking_make(1, 2, 1, ACK_ASYNC);
    machine_start(a->sim->machines[1]);
    is(tap, a, 1, "waiting", false);
    sim_run(a->sim, 3 * SECOND);
    is(tap, a, 1, "waiting", false);
    OK(says(a, 1, HEALTH, "start one of its nodes with -leader") && strstr(a->body, "-peers") != NULL);
    STATUS_IS(a, get(a, 1, "k", false), 503);
    OK(strstr(a->body, "no member of its group was found") != NULL);
    machine_start(a->sim->machines[0]);
    OK(becomes(a, 1, "healthy"));
    is(tap, a, 1, "healthy", true);
    asking_free(a);
}

/* ---- without a leader ---- */

TEST(a_voter_that_restarts_alone_names_the_voters_it_misses_in_its_log_and_in_every_503) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    char first[NODE_ID_SIZE + 1], second[NODE_ID_SIZE + 1];
    struct log log;
    STATUS_IS(a, set(a, 0, "k", "v"), 200);
    sim_run(a->sim, SECOND);
    id_at(a, 0, first);
    id_at(a, 1, second);
    for (unsigned i = 0; i < 3; i++)
        machine_kill(a->sim->machines[i]);
    listen(a, &log);
    machine_start(a->sim->machines[2]);
    sim_run(a->sim, 300 * MS);
    is(tap, a, 2, "no_leader", false);
    STATUS_IS(a, get(a, 2, "k", false), 200);
    struct buffer request = {0};
    for (unsigned i = 0; i < 4; i++) {
        if (i == 0)
            request_set(&request, "k", "w", NULL, (struct version){0, 0});
        else if (i == 1)
            request_get(&request, "k", true);
        else if (i == 2)
            buffer_append_text(&request,
                               "GET /keys?consistency=linearizable HTTP/1.1\r\nHost: localhost\r\n\r\n");
        else
            buffer_append_text(&request, READY);
        write_u8(&request, 0);
        STATUS_IS(a, ask(a, 2, &request), 503);
        TOOK_AT_MOST(a, 120);
        OK(strstr(a->body, first) != NULL && strstr(a->body, second) != NULL);
        OK(strstr(a->body, "10.0.0.1:8000") != NULL || strstr(a->body, " at ") != NULL);
        OK(strstr(a->body, "Start the voters that are missing") != NULL);
    }
    EQUAL(log.missing, 0); /* it may be that all have just been started */
    sim_run(a->sim, 10 * SECOND);
    EQUAL(log.missing, 1);
    OK(strstr(log.text, first) != NULL && strstr(log.text, second) != NULL &&
       strstr(log.text, "Start") != NULL);
    machine_start(a->sim->machines[1]);
    OK(becomes(a, 2, "healthy"));
    STATUS_IS(a, set(a, 2, "k", "w"), 200);
    asking_free(a);
}

TEST(an_election_that_can_succeed_is_waited_for) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 0);
    machine_kill(a->sim->machines[leader]);
    sim_run(a->sim, 3 * MS); /* the others' connections to it are closed */
    STATUS_IS(a, set(a, (leader + 1) % 3, "k", "v"), 200);
    OK(a->took_ms > 10);
    STATUS_IS(a, get(a, (leader + 2) % 3, "k", true), 200);
    asking_free(a);
}

TEST(voters_behind_a_cut_network_are_waited_for_until_their_connections_are_known_to_be_gone) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned follower = (leader_in(a, 0) + 1) % 3;
    cut(a, follower, true);
    sim_run(a->sim, 12 * SECOND);
    is(tap, a, follower, "no_leader", false);
    STATUS_IS(a, set(a, follower, "k", "v"), 503);
    TOOK_AT_MOST(a, 120);
    STATUS_IS(a, set(a, (follower + 1) % 3, "k", "v"), 200);
    cut(a, follower, false);
    OK(becomes(a, follower, "healthy"));
    asking_free(a);
}

TEST(an_async_leader_alone_refuses_at_once_what_needs_a_majority) {
    struct asking *a = asking_new(1, 3, 1, ACK_ASYNC);
    unsigned leader = leader_in(a, 0);
    char id[NODE_ID_SIZE + 1];
    id_at(a, (leader + 1) % 3, id);
    for (unsigned i = 1; i < 3; i++)
        machine_kill(a->sim->machines[(leader + i) % 3]);
    sim_run(a->sim, 2 * SECOND);
    is(tap, a, leader, "degraded", true);
    OK(says(a, leader, HEALTH, id));
    STATUS_IS(a, set(a, leader, "k", "v"), 200);
    STATUS_IS(a, get(a, leader, "k", true), 503);
    TEXT_EQUAL(a->error, "no_majority");
    TOOK_AT_MOST(a, 120);
    OK(strstr(a->body, id) != NULL);
    asking_free(a);
}

TEST(a_dead_leader_is_not_shown_as_one) {
    struct asking *a = asking_make(1, 2, 1, ACK_ASYNC); /* one votes, the other one learns */
    a->sim->options.voters_max = 1;
    asking_start(a);
    OK(says(a, 1, CLUSTER, "\"is_leader\":true"));
    is(tap, a, 1, "healthy", true);
    machine_kill(a->sim->machines[0]);
    sim_run(a->sim, SECOND);
    OK(!says(a, 1, CLUSTER, "\"is_leader\":true"));
    is(tap, a, 1, "no_leader", false);
    OK(says(a, 1, METRICS, "\nkvnode_has_leader 0\n"));
    STATUS_IS(a, set(a, 1, "k", "v"), 503);
    TOOK_AT_MOST(a, 120);
    asking_free(a);
    a = asking_new(2, 2, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 1);
    char shown[128], id[NODE_ID_SIZE + 1];
    id_at(a, leader, id);
    ask_text(a, 0, CLUSTER);
    OK(strstr(strstr(a->body, id), "\"is_leader\":true") != NULL);
    machine_kill(a->sim->machines[leader]);
    sim_run(a->sim, SECOND);
    snprintf(shown, sizeof shown, "%s", id);
    ask_text(a, 0, CLUSTER);
    const char *row = strstr(a->body, shown);
    REQUIRE(row != NULL);
    OK(strncmp(strstr(row, "\"is_leader\":"), "\"is_leader\":false", 17) == 0);
    asking_free(a);
}

/* ---- members ---- */

TEST(a_node_outside_its_groups_list_of_members_is_not_ready) {
    struct asking *a = asking_make(1, 4, 1, ACK_QUORUM);
    static char value[4000];
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < 3; i++)
        machine_start(a->sim->machines[i]);
    sim_run(a->sim, 8 * SECOND);
    for (unsigned i = 0; i < 150; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        STATUS_IS(a, set(a, 0, key, value), 200);
    }
    machine_start(a->sim->machines[3]);
    while (raft_configuration(raft_at(a, 3))->count == 0 && sim_step(a->sim)) {
    }
    struct member_id self = {.incarnation = node_self(a->sim->machines[3]->node)->incarnation};
    memcpy(self.id, node_self(a->sim->machines[3]->node)->id, NODE_ID_SIZE);
    REQUIRE(configuration_find(raft_configuration(raft_at(a, 3)), &self) == NULL);
    is(tap, a, 3, "catching_up", false);
    cut(a, 3, true);
    sim_run(a->sim, 12 * SECOND);
    REQUIRE(configuration_find(raft_configuration(raft_at(a, 3)), &self) == NULL);
    is(tap, a, 3, "outside", false);
    cut(a, 3, false);
    OK(becomes(a, 3, "healthy"));
    asking_free(a);
}

TEST(a_node_that_was_removed_says_so) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), gone = (leader + 1) % 3;
    STATUS_IS(a, change(a, leader, "leave", gone), 200);
    sim_run(a->sim, SECOND);
    is(tap, a, gone, "removed", false);
    STATUS_IS(a, change(a, leader, "join", gone), 200);
    OK(becomes(a, gone, "healthy"));
    asking_free(a);
}

/* ---- disks ---- */

static void fill_disk(struct asking *a, unsigned machine, bool full) {
    struct sim_disk *disk = a->sim->machines[machine]->disk;
    sim_disk_set_capacity(disk, full ? sim_disk_used(disk) : 0);
}

static unsigned write_much(struct asking *a, unsigned machine) {
    static char value[3001];
    unsigned status = 200;
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < 60 && status == 200; i++)
        status = set(a, machine, "k", value);
    return status;
}

TEST(a_leader_that_answers_507_is_not_ready_until_it_takes_writes_again) {
    struct asking *a = asking_new(1, 1, 1, ACK_ASYNC);
    fill_disk(a, 0, true);
    EQUAL(write_much(a, 0), 507);
    is(tap, a, 0, "disk_full", false);
    sim_run(a->sim, 30 * SECOND);
    is(tap, a, 0, "disk_full", false);
    fill_disk(a, 0, false);
    sim_run(a->sim, 8 * SECOND); /* nobody writes: who asks ready=1 first would never write */
    is(tap, a, 0, "healthy", true);
    STATUS_IS(a, set(a, 0, "k", "v"), 200);
    asking_free(a);
}

TEST(a_follower_whose_disk_is_full_is_not_ready_until_it_follows_on) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), follower = (leader + 1) % 3;
    fill_disk(a, follower, true);
    EQUAL(write_much(a, leader), 200);
    is(tap, a, follower, "disk_full", false);
    is(tap, a, leader, "healthy", true);
    fill_disk(a, follower, false);
    OK(becomes(a, follower, "healthy"));
    asking_free(a);
}

TEST(a_follower_that_can_follow_no_further_is_not_ready) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    struct sim_disk *old[2];
    STATUS_IS(a, set(a, 0, "k", "1"), 200);
    sim_run(a->sim, SECOND);
    for (unsigned i = 0; i < 2; i++)
        old[i] = sim_disk_copy(a->sim->machines[i]->disk);
    for (unsigned i = 0; i < 20; i++)
        STATUS_IS(a, set(a, 0, "k", "2"), 200);
    sim_run(a->sim, SECOND);
    for (unsigned i = 0; i < 3; i++)
        machine_kill(a->sim->machines[i]);
    for (unsigned i = 0; i < 2; i++) { /* two disks that lied */
        sim_disk_free(a->sim->machines[i]->disk);
        a->sim->machines[i]->disk = old[i];
        machine_start(a->sim->machines[i]);
    }
    sim_run(a->sim, 3 * SECOND);
    for (unsigned i = 0; i < 25; i++)
        STATUS_IS(a, set(a, 0, "k", "3"), 200);
    machine_start(a->sim->machines[2]);
    OK(becomes(a, 2, "stuck"));
    is(tap, a, 2, "stuck", false);
    asking_free(a);
}

TEST(a_node_whose_files_are_removed_says_so_and_never_that_they_are_on_disk) {
    static const char *const files[] = {"log-0000000000000001", "hard_state", "log_end", "snapshot"};
    for (unsigned i = 0; i < 4; i++) {
        struct asking *a = asking_new(1, 1, 1, ACK_ASYNC);
        struct machine *m = a->sim->machines[0];
        struct log log;
        listen(a, &log);
        STATUS_IS(a, set(a, 0, "k", "v"), 200);
        if (i == 3) { /* taken at the end of a run */
            machine_stop(m);
            sim_run(a->sim, 3 * SECOND);
            machine_start(m);
            sim_run(a->sim, 3 * SECOND);
        }
        is(tap, a, 0, "healthy", true);
        EQUAL(file_system_remove(sim_disk_file_system(m->disk), files[i]), FILE_OK);
        sim_run(a->sim, 12 * SECOND);
        is(tap, a, 0, "files_missing", false);
        STATUS_IS(a, get(a, 0, "k", false), 200);
        EQUAL(log.files, 1);
        m->may_fail = true;
        machine_stop(m);
        sim_run(a->sim, 3 * SECOND);
        EQUAL(log.files, i == 3 ? 1 : 2); /* the end of a run takes a new snapshot */
        asking_free(a);
    }
}

/* ---- two stores ---- */

TEST(groups_that_come_after_keys_were_written_are_joining_and_say_what_to_do) {
    struct asking *a = asking_make(3, 1, 1, ACK_ASYNC);
    machine_start(a->sim->machines[0]);
    STATUS_IS(a, set(a, 0, "k", "v"), 200); /* as soon as the first node answers */
    machine_start(a->sim->machines[1]);
    machine_start(a->sim->machines[2]);
    sim_run(a->sim, 8 * SECOND);
    is(tap, a, 0, "healthy", true);
    for (unsigned i = 1; i < 3; i++) {
        is(tap, a, i, "joining", false);
        OK(says(a, i, HEALTH, "\"fix\":\"Use the nodes of the other groups."));
        STATUS_IS(a, set(a, i, "k", "w"), 200); /* passed on */
    }
    asking_free(a);
}

TEST(two_bootstraps_that_both_hold_keys_say_so_and_name_the_other) {
    struct asking *a = asking_make(1, 2, 1, ACK_ASYNC);
    a->sim->machines[1]->leader_flag = true;
    cut(a, 0, true);
    asking_start(a);
    STATUS_IS(a, set(a, 0, "k", "v"), 200);
    STATUS_IS(a, set(a, 1, "k", "w"), 200);
    is(tap, a, 0, "healthy", true);
    cut(a, 0, false);
    sim_run(a->sim, 40 * SECOND);
    for (unsigned i = 0; i < 2; i++) {
        is(tap, a, i, "split", true);
        OK(says(a, i, HEALTH, "the other is at "));
    }
    machine_kill(a->sim->machines[1]);
    sim_run(a->sim, 100 * SECOND);
    is(tap, a, 0, "healthy", true);
    asking_free(a);
}

/* ---- the last line of a start ---- */

TEST(a_start_ends_with_a_line_that_names_the_store_its_age_its_keys_and_its_members) {
    struct asking *a = asking_make(1, 2, 1, ACK_ASYNC);
    struct log log;
    char id[NODE_ID_SIZE + 1];
    listen(a, &log);
    machine_start(a->sim->machines[0]);
    sim_run(a->sim, 5 * SECOND);
    EQUAL(log.serving, 1);
    OK(strstr(log.text, "made a new store") != NULL && strstr(log.text, " 0 keys; no other members") != NULL);
    STATUS_IS(a, set(a, 0, "k", "v"), 200);
    a->sim->machines[1]->leader_flag = true;
    machine_start(a->sim->machines[1]);
    sim_run(a->sim, 5 * SECOND);
    EQUAL(log.serving, 2);
    OK(!log.two_voters_after);
    id_at(a, 0, id);
    OK(strstr(log.text, "joined an existing store") != NULL && strstr(log.text, id) != NULL);
    OK(strstr(log.text, " ago, 1 keys") != NULL && strstr(log.text, "-cluster NAME") != NULL);
    sim_run(a->sim, 3 * 3600 * SECOND);
    machine_kill(a->sim->machines[0]);
    machine_start(a->sim->machines[0]);
    sim_run(a->sim, 5 * SECOND);
    EQUAL(log.serving, 3);
    if (!OK(strstr(log.text, "serves the store of its data directory") != NULL &&
            strstr(log.text, "founded 2023-11-") != NULL &&
            strstr(log.text, " UTC, 3 hours ago, 1 keys") != NULL &&
            strstr(log.text, "-cluster NAME") == NULL))
        printf("# %s\n", log.text);
    asking_free(a);
}

TESTS(TAP(a_fresh_leader_is_ready_when_it_serves_and_not_half_a_second_before),
      TAP(each_node_is_ready_when_it_serves_after_a_start_and_after_its_leader_died),
      TAP(a_leader_is_not_ready_before_a_majority_has_confirmed_it),
      TAP(a_node_that_waits_to_join_says_so_and_what_to_do),
      TAP(a_voter_that_restarts_alone_names_the_voters_it_misses_in_its_log_and_in_every_503),
      TAP(an_election_that_can_succeed_is_waited_for),
      TAP(voters_behind_a_cut_network_are_waited_for_until_their_connections_are_known_to_be_gone),
      TAP(an_async_leader_alone_refuses_at_once_what_needs_a_majority),
      TAP(a_dead_leader_is_not_shown_as_one), TAP(a_node_outside_its_groups_list_of_members_is_not_ready),
      TAP(a_node_that_was_removed_says_so),
      TAP(a_leader_that_answers_507_is_not_ready_until_it_takes_writes_again),
      TAP(a_follower_whose_disk_is_full_is_not_ready_until_it_follows_on),
      TAP(a_follower_that_can_follow_no_further_is_not_ready),
      TAP(a_node_whose_files_are_removed_says_so_and_never_that_they_are_on_disk),
      TAP(groups_that_come_after_keys_were_written_are_joining_and_say_what_to_do),
      TAP(two_bootstraps_that_both_hold_keys_say_so_and_name_the_other),
      TAP(a_start_ends_with_a_line_that_names_the_store_its_age_its_keys_and_its_members))
