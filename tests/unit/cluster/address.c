#include "cluster/address.h"
#include "tests/tap.h"

static bool round_trips(const char *text) {
    struct address a;
    char out[ADDRESS_TEXT_MAX];
    return address_parse(text, &a) && strcmp(address_text(&a, out), text) == 0;
}

TEST(addresses_read_as_they_are_written) {
    OK(round_trips("127.0.0.1:8000"));
    OK(round_trips("255.255.255.255:65535"));
    OK(round_trips("[::1]:1"));
    OK(round_trips("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"));
    OK(round_trips("[::ffff:10.1.2.3]:80"));
    struct address none = {0}, ip;
    char out[ADDRESS_TEXT_MAX];
    TEXT_EQUAL(address_text(&none, out), "none");
    OK(address_parse_ip("fe80::1", 9, &ip));
    TEXT_EQUAL(address_ip_text(&ip, out), "fe80::1");
}

TEST(what_is_no_number_and_port_is_refused) {
    static const char *const bad[] = {"",
                                      ":",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:0",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:08",
                                      "127.0.0.1:+1",
                                      "127.0.0.1: 1",
                                      "127.0.0.1:1 ",
                                      "127.0.0:1",
                                      "localhost:1",
                                      "::1:80",
                                      "[::1]",
                                      "[::1]:",
                                      "[127.0.0.1]:80",
                                      "[:80",
                                      "[]:80",
                                      " 127.0.0.1:80",
                                      "::1",
                                      "127.0.0.1:99999999999999999999",
                                      "[1111111111111111111111111111111111111111111111111111111]:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address a = {.family = 9};
        if (!OK(!address_parse(bad[i], &a)))
            printf("# %s\n", bad[i]);
        EQUAL(a.family, 9);
    }
}

TEST(loopback_and_wildcard_are_known) {
    struct address a;
    OK(address_parse("127.9.9.9:1", &a) && address_is_loopback(&a) && !address_is_wildcard(&a));
    OK(address_parse("[::1]:1", &a) && address_is_loopback(&a) && !address_is_wildcard(&a));
    OK(address_parse("0.0.0.0:1", &a) && !address_is_loopback(&a) && address_is_wildcard(&a));
    OK(address_parse("[::]:1", &a) && !address_is_loopback(&a) && address_is_wildcard(&a));
    OK(address_parse("10.0.0.1:1", &a) && !address_is_loopback(&a) && !address_is_wildcard(&a));
    struct address none = {0};
    OK(!address_is_wildcard(&none) && !address_is_loopback(&none));
}

TEST(equality_looks_at_family_ip_and_port) {
    struct address a, b, c;
    address_parse("10.0.0.1:1", &a);
    address_parse("10.0.0.1:2", &b);
    address_parse("10.0.0.2:1", &c);
    OK(address_equal(&a, &a) && !address_equal(&a, &b) && address_same_ip(&a, &b));
    OK(!address_equal(&a, &c) && !address_same_ip(&a, &c));
}

TEST(every_prefix_of_an_encoded_address_fails_softly) {
    static const char *const texts[] = {"10.0.0.1:8000", "[2001:db8::1]:8000"};
    for (int i = 0; i < 3; i++) {
        struct address a = {0};
        if (i < 2)
            address_parse(texts[i], &a);
        struct buffer out = {0};
        address_write(&out, &a);
        struct bytes whole = buffer_bytes(&out);
        for (size_t size = 0; size <= whole.size; size++) {
            uint8_t *exact = malloc(size + 1);
            memcpy(exact + 1, whole.data, size);
            struct reader r = reader_of((struct bytes){exact + 1, size});
            struct address got = address_read(&r);
            EQUAL(reader_done(&r), size == whole.size);
            OK(address_equal(&got, &a) || size < whole.size);
            free(exact);
        }
        for (int family = 0; family < 256; family++) {
            out.data[out.start] = (uint8_t)family;
            struct reader r = reader_of(buffer_bytes(&out));
            address_read(&r);
            OK(family == 0 || family == 4 || family == 6 || !reader_ok(&r));
        }
        buffer_release(&out);
    }
}

TESTS(TAP(addresses_read_as_they_are_written), TAP(what_is_no_number_and_port_is_refused),
      TAP(loopback_and_wildcard_are_known), TAP(equality_looks_at_family_ip_and_port),
      TAP(every_prefix_of_an_encoded_address_fails_softly))
