/* Which files of a directory are a node's. */
#include "storage/directory.h"

#include "tests/tap.h"

TEST(only_the_names_that_a_node_gives_are_its_own) {
    static const char *const own[] = {
        "identity",
        "hard_state",
        "hard_state.new",
        "log_end",
        "log_end.new",
        "snapshot",
        "snapshot.new",
        "rejected",
        "snapshot.in",
        "removed.new",
        "log-0000000000000001",
        "spare-00000000000000af",
        "log-0000000000000001.new",
    };
    static const char *const others[] = {
        "",
        "thesis",
        "identity.bak",
        "identity.",
        "log-1",
        "log-",
        "log-00000000000000010",
        "log-000000000000000G",
        "log-000000000000000A",
        "log-0000000000000000",
        "spare-parts",
        ".new",
        "identity.new.new",
        "snapshot.jpg",
        "lock",
        "identit",
        "log-ffffffffffffffff",
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        OK(directory_owns(own[i]));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        OK(!directory_owns(others[i]));
}

TEST(a_file_set_aside_is_told_by_its_name) {
    char name[FILE_NAME_MAX];
    directory_aside_name(name, 0xfedcba9876543210, "log-0000000000000001");
    TEXT_EQUAL(name, "aside-fedcba9876543210-log-0000000000000001");
    OK(directory_is_aside(name) && !directory_owns(name));
    OK(directory_is_aside("aside-fedcba9876543210-log-0000000000000001.new"));
    OK(!directory_is_aside("aside-fedcba9876543210-thesis") && !directory_is_aside("aside-1-log_end") &&
       !directory_is_aside("aside-fedcba9876543210log_end") &&
       !directory_is_aside("aside-fedcba9876543210") && !directory_is_aside("log_end"));
}

TEST(a_replacement_that_was_not_finished_is_told_by_its_name) {
    OK(directory_is_unfinished("log_end.new") && directory_is_unfinished("log-0000000000000001.new") &&
       directory_is_unfinished("aside-fedcba9876543210-log-0000000000000001.new"));
    OK(!directory_is_unfinished("log_end") && !directory_is_unfinished("thesis.new") &&
       !directory_is_unfinished("aside-fedcba9876543210-thesis.new") && !directory_is_unfinished("new"));
}

TESTS(TAP(a_replacement_that_was_not_finished_is_told_by_its_name), TAP(a_file_set_aside_is_told_by_its_name),
      TAP(only_the_names_that_a_node_gives_are_its_own))
