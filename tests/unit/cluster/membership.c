#include "cluster/membership.h"
#include "tests/tap.h"

static struct node_info node(unsigned n) {
    struct node_info info = {.incarnation = 1, .session = 2, .cluster = "kvnode"};
    char id[NODE_ID_SIZE + 1];
    snprintf(id, sizeof id, "node%012u", n);
    memcpy(info.id, id, NODE_ID_SIZE);
    return info;
}

static void count_removed(void *arg, const struct membership_row *row) {
    (void)row;
    ++*(int *)arg;
}

TEST(rows_are_listed_in_order_of_id) {
    struct membership *m = membership_new();
    for (unsigned i = 0; i < 100; i++) {
        struct node_info info = node(i * 37 % 100);
        EQUAL(membership_heard(m, 1000, &info), MEMBERSHIP_JOINED);
    }
    EQUAL(membership_count(m), 100);
    for (unsigned i = 0; i < 100; i++) {
        struct node_info info = node(i);
        OK(memcmp(membership_at(m, i)->info.id, info.id, NODE_ID_SIZE) == 0);
        OK(membership_find(m, info.id) == membership_at(m, i));
    }
    struct node_info absent = node(100);
    OK(membership_find(m, absent.id) == NULL);
    OK(!membership_left(m, absent.id));
    membership_free(m);
}

TEST(a_change_of_what_is_told_is_reported_and_repetition_is_not) {
    struct membership *m = membership_new();
    struct node_info info = node(1);
    membership_heard(m, 0, &info);
    EQUAL(membership_heard(m, 1, &info), MEMBERSHIP_NOTHING);
    info.role = NODE_LEADER;
    EQUAL(membership_heard(m, 2, &info), MEMBERSHIP_CHANGED);
    info.term = 4;
    EQUAL(membership_heard(m, 3, &info), MEMBERSHIP_CHANGED);
    address_parse("1.2.3.4:5", &info.api);
    EQUAL(membership_heard(m, 4, &info), MEMBERSHIP_CHANGED);
    info.group_id = 9;
    EQUAL(membership_heard(m, 5, &info), MEMBERSHIP_CHANGED);
    info.session = 3;
    EQUAL(membership_heard(m, 6, &info), MEMBERSHIP_RESTARTED);
    info.incarnation = 3;
    EQUAL(membership_heard(m, 7, &info), MEMBERSHIP_RESTARTED);
    EQUAL(membership_heard(m, 8, &info), MEMBERSHIP_NOTHING);
    EQUAL(membership_count(m), 1);
    EQUAL(membership_at(m, 0)->info.incarnation, 3);
    membership_free(m);
}

TEST(a_silent_node_is_suspect_then_removed_and_being_heard_clears_the_suspicion) {
    struct membership *m = membership_new();
    struct node_info a = node(1), b = node(2);
    int removed = 0;
    membership_heard(m, 1000, &a);
    membership_heard(m, 1000, &b);
    membership_tick(m, 1000 + MEMBERSHIP_SUSPECT_MS - 1, count_removed, &removed);
    EQUAL(membership_at(m, 0)->state, MEMBERSHIP_ALIVE);
    membership_tick(m, 1000 + MEMBERSHIP_SUSPECT_MS, count_removed, &removed);
    EQUAL(membership_at(m, 0)->state, MEMBERSHIP_SUSPECT);
    EQUAL(membership_heard(m, 20000, &b), MEMBERSHIP_NOTHING);
    EQUAL(membership_find(m, b.id)->state, MEMBERSHIP_ALIVE);
    membership_tick(m, 1000 + MEMBERSHIP_REMOVE_MS - 1, count_removed, &removed);
    EQUAL(removed, 0);
    membership_tick(m, 1000 + MEMBERSHIP_REMOVE_MS, count_removed, &removed);
    EQUAL(removed, 1);
    OK(membership_find(m, a.id) == NULL);
    OK(membership_find(m, b.id) != NULL);
    OK(membership_left(m, b.id));
    EQUAL(membership_count(m), 0);
    membership_free(m);
}

TEST(a_full_table_lists_no_more_but_counts_them) {
    struct membership *m = membership_new();
    for (unsigned i = 0; i < MEMBERSHIP_NODES_MAX; i++) {
        struct node_info info = node(i);
        membership_heard(m, 0, &info);
    }
    struct node_info one_more = node(MEMBERSHIP_NODES_MAX), known = node(5);
    EQUAL(membership_heard(m, 0, &one_more), MEMBERSHIP_NOTHING);
    EQUAL(membership_count(m), MEMBERSHIP_NODES_MAX);
    EQUAL(membership_unlisted(m), 1);
    known.term = 7;
    EQUAL(membership_heard(m, 0, &known), MEMBERSHIP_CHANGED);
    int removed = 0;
    membership_tick(m, MEMBERSHIP_REMOVE_MS, count_removed, &removed);
    EQUAL(removed, MEMBERSHIP_NODES_MAX);
    membership_free(m);
}

TESTS(TAP(rows_are_listed_in_order_of_id), TAP(a_change_of_what_is_told_is_reported_and_repetition_is_not),
      TAP(a_silent_node_is_suspect_then_removed_and_being_heard_clears_the_suspicion),
      TAP(a_full_table_lists_no_more_but_counts_them))
