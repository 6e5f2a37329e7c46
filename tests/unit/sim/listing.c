/* GET /keys?consistency=linearizable: what a listing of several slices shows while its reader is slow and the
 * leader loses its majority. */
#include "tests/unit/sim/asking.h"

#define LISTING "GET /keys?consistency=linearizable HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define KEYS    1200
#define PADDING 200 /* bytes of each key behind its number: several slices in all */

struct slow_reader {
    struct asking *a;
    struct client client;
    struct buffer text; /* all that came */
};

static void ignored(void *arg, struct client *client, const struct response *response) {
    (void)arg;
    (void)client;
    (void)response;
}

static void reader_ask(struct slow_reader *r, struct asking *a, unsigned machine) {
    *r = (struct slow_reader){.a = a};
    sim_client_init(&r->client, a->sim, ignored, NULL);
    r->client.keeps = true;
    sim_client_ask(&r->client, a->sim->machines[machine], LISTING);
}

/* What is there to be read, which makes room for the next slice; false where there is nothing. */
static bool reader_take(struct slow_reader *r) {
    struct api_client *connection = r->client.connection;
    if (connection == NULL || buffer_size(api_output(connection)) == 0)
        return false;
    buffer_append(&r->text, buffer_bytes(api_output(connection)));
    buffer_consume(api_output(connection), buffer_size(api_output(connection)));
    sim_client_turn(&r->client);
    machine_touch(r->client.machine);
    return true;
}

/* The next piece, within `us`. */
static bool reader_wait(struct slow_reader *r, uint64_t us) {
    for (uint64_t end = r->a->sim->now_us + us; r->a->sim->now_us < end; sim_run(r->a->sim, MS))
        if (reader_take(r))
            return true;
    return false;
}

static const char *reader_text(struct slow_reader *r) {
    buffer_append(&r->text, (struct bytes){(const uint8_t *)"", 1});
    r->text.end--;
    return (const char *)r->text.data + r->text.start;
}

static void reader_release(struct slow_reader *r) {
    sim_client_release(&r->client);
    buffer_release(&r->text);
}

static const char *key_of(unsigned number) {
    static char key[PADDING + 32];
    memset(key, 'x', sizeof key);
    int size = snprintf(key, sizeof key, "key-%04u-", number);
    key[size] = 'x';
    key[PADDING] = '\0';
    return key;
}

static void fill(struct tap *tap, struct asking *a) {
    for (unsigned i = 0; i < KEYS; i++)
        if (set(a, 0, key_of(i), "v") != 200)
            STATUS_IS(a, a->status, 200);
}

static void isolate(struct asking *a, unsigned machine, bool cut) {
    for (unsigned i = 0; i < a->sim->options.machines; i++)
        if (i != machine)
            a->sim->blocked[i][machine] = a->sim->blocked[machine][i] = cut;
}

/* One that the group of this leader owns, and that is not there any more. */
static const char *key_owned_by(struct asking *a, unsigned leader) {
    static char key[16];
    struct store_record record;
    for (unsigned i = 0; i < 100; i++) {
        struct buffer request = {0};
        snprintf(key, sizeof key, "zz%u", i);
        set(a, leader, key, "v");
        bool owned =
            store_get(replica_store(node_replica(a->sim->machines[leader]->node)), bytes_of(key), &record);
        request_delete(&request, key, NULL);
        ask(a, leader, &request);
        if (owned)
            break;
    }
    return key;
}

static bool complete(const char *text) {
    return strstr(text, "],\"count\":") != NULL;
}

/* The leader is cut off behind the first slice, takes a write alone, and loses it later. */
static void uncommitted_key_is_not_shown(struct tap *tap, unsigned groups, bool through_leader) {
    struct asking *a = asking_new(groups, 3, 1, ACK_ASYNC);
    struct slow_reader r;
    unsigned group = groups - 1, leader = leader_in(a, group), other = (leader + 1) % 3 + group * 3;
    REQUIRE(leader < groups * 3);
    fill(tap, a);
    const char *key = key_owned_by(a, leader);
    sim_run(a->sim, SECOND);
    reader_ask(&r, a, through_leader ? leader : 0);
    OK(reader_wait(&r, 2 * SECOND));
    OK(!complete(reader_text(&r)));
    sim_run(a->sim, SECOND); /* the next slice waits behind it */
    isolate(a, leader, true);
    STATUS_IS(a, set(a, leader, key, "alone"), 200);
    sim_run(a->sim, 3 * SECOND);
    while (reader_wait(&r, 7 * SECOND)) {
    }
    char shown[64];
    snprintf(shown, sizeof shown, "\"%s\"", key);
    OK(strstr(reader_text(&r), shown) == NULL);
    OK(!through_leader || !complete(reader_text(&r)));
    isolate(a, leader, false);
    sim_run(a->sim, 5 * SECOND);
    STATUS_IS(a, get(a, other, key, true), 404);
    reader_release(&r);
    TEXT_EQUAL(a->sim->violation, "");
    asking_free(a);
}

TEST(a_slow_reader_is_not_shown_a_key_that_an_async_leader_took_alone_and_lost) {
    uncommitted_key_is_not_shown(tap, 1, true);
}

TEST(nor_is_one_whose_listing_another_group_takes_part_in) {
    uncommitted_key_is_not_shown(tap, 2, false);
}

TEST(what_an_async_leader_has_applied_behind_the_read_is_not_in_its_answer_until_it_is_committed) {
    struct asking *a = asking_new(1, 3, 1, ACK_ASYNC);
    unsigned leader = leader_in(a, 0);
    struct slow_reader r;
    REQUIRE(leader < 3);
    for (unsigned i = 0; i < 3; i++)
        if (i != leader)
            a->sim->machines[i]->disk_factor = 3000;
    STATUS_IS(a, set(a, leader, "first", "v"), 200);
    reader_ask(&r, a, leader);
    sim_run(a->sim, 50 * MS);
    STATUS_IS(a, set(a, leader, "second", "v"), 200);
    uint64_t second = log_last(replica_log(node_replica(a->sim->machines[leader]->node)));
    OK(!reader_take(&r)); /* `first` is not committed yet */
    OK(reader_wait(&r, 5 * SECOND));
    OK(raft_commit(raft_at(a, leader)) < second);
    OK(strstr(reader_text(&r), "\"first\"") != NULL && strstr(reader_text(&r), "\"second\"") == NULL);
    reader_release(&r);
    asking_free(a);
}

TEST(a_key_that_is_there_throughout_is_listed_once_and_one_that_is_not_never_while_others_change) {
    struct asking *a = asking_new(2, 3, 1, ACK_QUORUM);
    struct slow_reader r;
    fill(tap, a);
    for (unsigned machine = 0; machine < 6; machine++) {
        unsigned seen[KEYS] = {0}, number = machine;
        reader_ask(&r, a, machine);
        for (unsigned i = 0; reader_wait(&r, 2 * SECOND); i++) {
            if (i == 1) /* while it is under way */
                machine_kill(a->sim->machines[leader_in(a, machine < 3 ? 1 : 0)]);
            number = (number + 7) % KEYS / 10 * 10; /* those of a round number come and go */
            struct buffer request = {0};
            request_delete(&request, key_of(number), NULL);
            ask(a, machine, &request);
            set(a, machine, key_of(number), "again");
        }
        const char *text = reader_text(&r);
        OK(complete(text));
        for (const char *at = text; (at = strstr(at, "\"key-")) != NULL; at++)
            seen[strtoul(at + 5, NULL, 10) % KEYS]++;
        for (unsigned i = 0; i < KEYS; i++)
            if (seen[i] > 1 || (seen[i] == 0 && i % 10 != 0))
                EQUAL(seen[i], 1);
        reader_release(&r);
        for (unsigned i = 0; i < 6; i++)
            if (a->sim->machines[i]->node == NULL)
                machine_start(a->sim->machines[i]);
        sim_run(a->sim, 3 * SECOND);
    }
    TEXT_EQUAL(a->sim->violation, "");
    asking_free(a);
}

/* What it is asked before it has read how the ring came to be is answered by the ring as it is. */
TEST(a_node_that_joins_anew_lists_the_keys_of_the_groups_that_its_log_names_later) {
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct asking *a = asking_make(2, 3, seed, ACK_QUORUM);
        struct machine *joining = a->sim->machines[2];
        for (unsigned i = 0; i < 6; i++) {
            machine_start(a->sim->machines[i]);
            sim_run(a->sim, (i == 2 ? 8 : 1) * SECOND); /* a ring of one group at first */
        }
        sim_run(a->sim, 8 * SECOND);
        for (unsigned i = 0; i < 20; i++)
            STATUS_IS(a, set(a, 0, key_of(i), "v"), 200);
        machine_kill(joining);
        machine_wipe(joining);
        sim_run(a->sim, SECOND);
        machine_start(joining);
        unsigned answers = 0;
        for (unsigned i = 0; i < 20 && answers < 3; i++) {
            if (ask_text(a, 2, LISTING) != 200)
                continue;
            answers++;
            OK(strstr(a->body, "],\"count\":20}") != NULL);
        }
        EQUAL(answers, 3);
        TEXT_EQUAL(a->sim->violation, "");
        asking_free(a);
    }
}

TESTS(TAP(a_slow_reader_is_not_shown_a_key_that_an_async_leader_took_alone_and_lost),
      TAP(nor_is_one_whose_listing_another_group_takes_part_in),
      TAP(what_an_async_leader_has_applied_behind_the_read_is_not_in_its_answer_until_it_is_committed),
      TAP(a_key_that_is_there_throughout_is_listed_once_and_one_that_is_not_never_while_others_change),
      TAP(a_node_that_joins_anew_lists_the_keys_of_the_groups_that_its_log_names_later))
