#include "cluster/node_info.h"
#include "tests/tap.h"

static struct node_info example(void) {
    struct node_info info = {.incarnation = 1,
                             .session = UINT64_MAX,
                             .group_id = 3,
                             .group = 4,
                             .role = NODE_LEADER,
                             .term = 5,
                             .cluster = "kvnode"};
    memcpy(info.id, "AZaz09_-abcdefgh", NODE_ID_SIZE);
    address_parse("10.0.0.1:8000", &info.peer);
    address_parse("[::1]:9000", &info.api);
    return info;
}

static bool reads(struct bytes bytes, struct node_info *out) {
    uint8_t *exact = malloc(bytes.size + 1);
    memcpy(exact + 1, bytes.data, bytes.size);
    struct reader r = reader_of((struct bytes){exact + 1, bytes.size});
    bool ok = node_info_read(&r, out) && reader_done(&r);
    free(exact);
    return ok;
}

TEST(what_is_written_is_read_and_no_prefix_of_it_is) {
    struct node_info info = example(), got;
    struct buffer out = {0};
    node_info_write(&out, &info);
    struct bytes whole = buffer_bytes(&out);
    for (size_t size = 0; size < whole.size; size++)
        OK(!reads((struct bytes){whole.data, size}, &got));
    OK(reads(whole, &got));
    OK(memcmp(&got, &info, sizeof got) == 0);
    buffer_release(&out);
}

TEST(the_longest_info_has_the_stated_size) {
    struct node_info info = example();
    memset(info.cluster, 'c', CLUSTER_NAME_MAX);
    info.peer = info.api;
    struct buffer out = {0};
    node_info_write(&out, &info);
    EQUAL(buffer_size(&out), NODE_INFO_SIZE_MAX);
    buffer_release(&out);
}

TEST(no_flipped_bit_gives_an_info_that_could_not_be_written) {
    struct node_info info = example(), got;
    struct buffer out = {0}, again = {0};
    node_info_write(&out, &info);
    struct bytes whole = buffer_bytes(&out);
    for (size_t bit = 0; bit < 8 * whole.size; bit++) {
        out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (reads(whole, &got)) {
            buffer_clear(&again);
            node_info_write(&again, &got); /* asserts what it is given */
            OK(bytes_equal(buffer_bytes(&again), whole));
        }
        out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buffer_release(&out);
    buffer_release(&again);
}

TEST(ids_are_sixteen_of_the_permitted_characters) {
    OK(node_id_valid(bytes_of("abcdefghijklmnop")));
    OK(!node_id_valid(bytes_of("abcdefghijklmno")));
    OK(!node_id_valid(bytes_of("abcdefghijklmnopq")));
    for (int c = 0; c < 256; c++) {
        uint8_t id[NODE_ID_SIZE];
        memset(id, 'a', sizeof id);
        id[15] = (uint8_t)c;
        bool permitted =
            c != 0 && strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-", c);
        EQUAL(node_id_valid((struct bytes){id, sizeof id}), permitted);
    }
}

TEST(cluster_names_are_printable_and_bounded) {
    char name[CLUSTER_NAME_MAX + 2];
    memset(name, 'x', sizeof name);
    OK(cluster_name_valid((struct bytes){(uint8_t *)name, CLUSTER_NAME_MAX}));
    OK(!cluster_name_valid((struct bytes){(uint8_t *)name, CLUSTER_NAME_MAX + 1}));
    OK(!cluster_name_valid(bytes_of("")));
    OK(!cluster_name_valid((struct bytes){(const uint8_t *)"a\0b", 3}));
    OK(!cluster_name_valid(bytes_of("a\nb")));
    OK(!cluster_name_valid(bytes_of("a\x7f")));
    OK(!cluster_name_valid(bytes_of("\xc3\xbc")));
}

TESTS(TAP(what_is_written_is_read_and_no_prefix_of_it_is), TAP(the_longest_info_has_the_stated_size),
      TAP(no_flipped_bit_gives_an_info_that_could_not_be_written),
      TAP(ids_are_sixteen_of_the_permitted_characters), TAP(cluster_names_are_printable_and_bounded))
