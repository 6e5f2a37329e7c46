/* Flags: what is taken, and that what is not is refused by name with a mend. */
#include "cmd/options.h"
#include "tests/tap.h"

#define ARGUMENTS_MAX 16

/* A command line and what it was parsed to, which borrows from it. */
struct line {
    char text[512];
    struct options o;
    char why[256];
};

static bool parse(struct line *l, const char *text) {
    static const char program[] = "kvnode";
    char *arguments[ARGUMENTS_MAX + 1] = {(char *)(uintptr_t)program};
    int count = 1;
    snprintf(l->text, sizeof l->text, "%s", text);
    l->why[0] = '\0';
    for (char *at = l->text, *word; count < ARGUMENTS_MAX && (word = strsep(&at, " ")) != NULL;)
        if (word[0] != '\0')
            arguments[count++] = word;
    return options_parse(&l->o, count, arguments, l->why, sizeof l->why);
}

TEST(without_flags_a_node_has_the_documented_defaults) {
    struct line l;
    REQUIRE(parse(&l, ""));
    EQUAL(l.o.port, 8000);
    EQUAL(l.o.api, 9000);
    EQUAL(l.o.discovery_port, 7946);
    EQUAL(l.o.group, 0);
    EQUAL(l.o.voters, 5);
    EQUAL(l.o.slow_ms, 200);
    EQUAL(l.o.log_level, NODE_INFO);
    EQUAL(l.o.ack, ACK_ASYNC);
    EQUAL(l.o.sync, SYNC_ALWAYS);
    TEXT_EQUAL(l.o.data, "kvdata/8000");
    TEXT_EQUAL(l.o.cluster, "kvnode");
    OK(!l.o.leader && !l.o.memory && !l.o.ack_given && !l.o.id_given);
}

TEST(one_dash_two_dashes_and_an_equals_sign_are_all_taken) {
    static const char *const lines[] = {
        "-port 8001 -api 9001 -group 3 -leader",
        "--port 8001 --api 9001 --group 3 --leader",
        "-port=8001 --api=9001 -group=3 -leader",
    };
    for (size_t i = 0; i < 3; i++) {
        struct line l;
        REQUIRE(parse(&l, lines[i]));
        OK(l.o.port == 8001 && l.o.api == 9001 && l.o.group == 3 && l.o.leader);
        TEXT_EQUAL(l.o.data, "kvdata/8001");
    }
}

TEST(the_data_directory_of_another_bind_address_bears_its_name) {
    struct line l;
    REQUIRE(parse(&l, "-bind 127.0.0.2"));
    TEXT_EQUAL(l.o.data, "kvdata/127.0.0.2_8000");
}

TEST(times_of_fsync_are_taken_in_milliseconds_and_seconds) {
    struct line l;
    REQUIRE(parse(&l, "-fsync 100ms"));
    OK(l.o.sync == SYNC_INTERVAL && l.o.sync_interval_ms == 100);
    REQUIRE(parse(&l, "-fsync 2s"));
    OK(l.o.sync == SYNC_INTERVAL && l.o.sync_interval_ms == 2000);
    REQUIRE(parse(&l, "-fsync never"));
    EQUAL(l.o.sync, SYNC_NEVER);
}

TEST(lists_are_split_and_hosts_put_in_lower_case) {
    struct line l;
    REQUIRE(parse(&l, "-peers a.example:8000,127.0.0.1:8001 -allow-host KV.Example,b"));
    TEXT_EQUAL(l.o.peers[0], "a.example:8000");
    TEXT_EQUAL(l.o.peers[1], "127.0.0.1:8001");
    OK(l.o.peers[2] == NULL);
    TEXT_EQUAL(l.o.allow_hosts[0], "kv.example");
    TEXT_EQUAL(l.o.allow_hosts[1], "b");
    OK(l.o.allow_hosts[2] == NULL);
}

TEST(a_bad_flag_is_refused_in_one_line_that_names_it) {
    static const struct {
        const char *line, *named;
    } rows[] = {
        {"-port 0", "-port"},
        {"-port 65536", "-port"},
        {"-port 80x", "-port"},
        {"-port +80", "-port"},
        {"-port", "-port requires a value"},
        {"-port 8000 -port 8001", "-port is given twice"},
        {"-group -1", "-group"},
        {"-voters 0", "-voters"},
        {"-voters 10", "-voters"},
        {"-ack most", "async, quorum, all"},
        {"-fsync 0ms", "-fsync"},
        {"-fsync 61s", "-fsync"},
        {"-fsync 5", "-fsync"},
        {"-fsync ms", "-fsync"},
        {"-id short", "-id"},
        {"-id 0123456789abcde!", "-id"},
        {"-bind localhost", "-bind requires an IP address"},
        {"-bind 0.0.0.0", "-advertise"},
        {"-bind 127.0.0.1 -advertise ::", "-advertise"},
        {"-peers localhost", "-peers"},
        {"-peers :8000", "-peers"},
        {"-peers a:8000,,b:8000", "-peers has an empty entry"},
        {"-peers a:0", "-peers"},
        {"-no-broadcast", "-peers"},
        {"-memory -data x", "-memory"},
        {"-memory -fsync always", "leave -fsync out"},
        {"-leader=yes", "-leader takes no value"},
        {"-slow-ms soon", "-slow-ms"},
        {"-slow-ms 60001", "-slow-ms"},
        {"-log-level loud", "-log-level"},
        {"-log-format xml", "text, json"},
        {"-route elsewhere", "proxy, redirect, refuse"},
        {"-nonsense", "no such flag: -nonsense"},
        {"serve", "'serve' is no flag"},
        {"-api 8000", "different ports"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct line l;
        if (!OK(!parse(&l, rows[i].line)) || !OK(strstr(l.why, rows[i].named) != NULL))
            printf("# %s: %s\n", rows[i].line, l.why);
        OK(strchr(l.why, '\n') == NULL);
    }
}

TESTS(TAP(without_flags_a_node_has_the_documented_defaults),
      TAP(one_dash_two_dashes_and_an_equals_sign_are_all_taken),
      TAP(the_data_directory_of_another_bind_address_bears_its_name),
      TAP(times_of_fsync_are_taken_in_milliseconds_and_seconds),
      TAP(lists_are_split_and_hosts_put_in_lower_case), TAP(a_bad_flag_is_refused_in_one_line_that_names_it))
