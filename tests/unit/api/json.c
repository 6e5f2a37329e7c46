/* JSON in and out: what a client may send, and what it gets back. */
#include "api/json_in.h"
#include "api/json_out.h"
#include "tests/tap.h"

#include <stdlib.h>

struct sample {
    const char *text;
    size_t size;
    const char *key, *value; /* value NULL: refused */
    size_t key_size, value_size;
};

#define GOOD(text, key, value)                                                                               \
    { text, sizeof text - 1, key, value, sizeof key - 1, sizeof value - 1 }
#define BAD(text)                                                                                            \
    { text, sizeof text - 1, NULL, NULL, 0, 0 }

static const struct sample samples[] = {
    GOOD("{\"key\":\"username\",\"value\":\"alice\"}", "username", "alice"),
    GOOD("{\"value\":\"alice\",\"key\":\"username\"}", "username", "alice"),
    GOOD(" {\t\"key\" :\r\n\"a\" , \"value\": \"\" } \n", "a", ""),
    GOOD("{\"k\\u0065y\":\"a\",\"value\":\"b\"}", "a", "b"),
    GOOD("{\"key\":\"a\\u0000b\",\"value\":\"\\u0000\"}", "a\0b", "\0"), /* bug 48 */
    GOOD("{\"key\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"value\":\"x\\ny\"}", "\"\\/\b\f\n\r\t", "x\ny"),
    GOOD("{\"key\":\"\\u00e9\\u20AC\",\"value\":\"\\ud83d\\ude00!\"}", "\xc3\xa9\xe2\x82\xac",
         "\xf0\x9f\x98\x80!"),
    GOOD("{\"key\":\"\xc3\xa9 and more than eight\",\"value\":\"\xf4\x8f\xbf\xbf\"}",
         "\xc3\xa9 and more than eight", "\xf4\x8f\xbf\xbf"),
    GOOD("{\"key\":\"12345678\\u00e912345678\",\"value\":\"\x7f\"}",
         "12345678\xc3\xa9"
         "12345678",
         "\x7f"),

    /* Bug 49. */
    BAD("{\"key\":\"a\",\"key\":\"b\",\"value\":\"c\"}"),
    BAD("{\"key\":\"a\",\"value\":\"c\",\"value\":\"c\"}"),
    BAD("{\"key\":\"a\",\"k\\u0065y\":\"b\",\"value\":\"c\"}"),
    BAD("{\"KEY\":\"a\",\"value\":\"b\"}"),
    BAD("{\"key\":\"a\",\"value\":\"b\"}x"),
    BAD("{\"key\":\"a\",\"value\":\"b\"}{}"),
    BAD("{\"key\":\"a\",\"value\":\"b\"}\0"),
    BAD("{\"key\":\"a\x01\",\"value\":\"b\"}"),
    BAD("{\"key\":\"a\n\",\"value\":\"b\"}"),
    BAD("{\"key\":\"a\0\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xff\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\x80\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xc3\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xc0\x80\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xe0\x80\x80\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xed\xa0\x80\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xf0\x80\x80\x80\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xf4\x90\x80\x80\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\xf5\x80\x80\x80\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\ud800\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\udc00\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\ud800\\u0041\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\ud800x\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\ude00\\ud83d\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\u12\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\u+123\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\x41\",\"value\":\"b\"}"),
    BAD("{\"key\":\"\\\0\",\"value\":\"b\"}"),
    BAD("{\"key\":1,\"value\":\"b\"}"),
    BAD("{\"key\":null,\"value\":\"b\"}"),
    BAD("{\"key\":\"a\",\"value\":{}}"),
    BAD("{\"key\":\"a\"}"),
    BAD("{\"value\":\"a\"}"),
    BAD("{}"),
    BAD(""),
    BAD("[]"),
    BAD("{\"key\":\"a\",\"value\":\"b\",}"),
    BAD("{,\"key\":\"a\",\"value\":\"b\"}"),
    BAD("{\"key\":\"a\" \"value\":\"b\"}"),
    BAD("{\"key\" \"a\",\"value\":\"b\"}"),
    BAD("{key:\"a\",\"value\":\"b\"}"),
    BAD("{'key':'a','value':'b'}"),
    BAD("\xef\xbb\xbf{\"key\":\"a\",\"value\":\"b\"}"),
};

#define SAMPLES (sizeof samples / sizeof samples[0])

/* On bytes that end where their memory does; keep is released by the caller. */
static bool read_set(const char *text, size_t size, struct json_set *set, uint8_t **keep) {
    *keep = malloc(size > 0 ? size : 1);
    memcpy(*keep, text, size);
    return json_read_set(*keep, size, set);
}

TEST(a_set_body_is_read_strictly) {
    for (size_t i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        struct json_set set;
        uint8_t *keep;
        bool ok = read_set(s->text, s->size, &set, &keep);
        if (!EQUAL(ok, s->value != NULL))
            printf("# sample %zu: %s\n", i, s->text);
        if (ok && s->value != NULL) {
            OK(bytes_equal(set.key, (struct bytes){(const uint8_t *)s->key, s->key_size}));
            OK(bytes_equal(set.value, (struct bytes){(const uint8_t *)s->value, s->value_size}));
        }
        if (!ok)
            OK(set.error != NULL || set.unknown.data != NULL);
        free(keep);
    }
}

TEST(every_prefix_and_every_flipped_bit_of_a_body_is_read_within_its_bounds) {
    for (size_t i = 0; i < SAMPLES; i++) {
        struct json_set set;
        uint8_t *keep;
        char text[128];
        size_t last = samples[i].size;
        while (last > 0 && strchr(" \n", samples[i].text[last - 1]) != NULL)
            last--;
        for (size_t size = 0; size < last; size++) {
            OK(!read_set(samples[i].text, size, &set, &keep) || samples[i].value == NULL);
            free(keep);
        }
        for (size_t bit = 0; bit < samples[i].size * 8; bit++) {
            memcpy(text, samples[i].text, samples[i].size);
            text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
            if (read_set(text, samples[i].size, &set, &keep))
                OK(utf8_valid(set.key) == set.key.size && utf8_valid(set.value) == set.value.size);
            free(keep);
        }
    }
}

TEST(an_unknown_field_is_named) {
    struct json_set set;
    uint8_t *keep;
    OK(!read_set("{\"key\":\"a\",\"ttl\":5,\"value\":\"b\"}", 32, &set, &keep));
    OK(bytes_equal(set.unknown, bytes_of("ttl")));
    free(keep);
}

static bool skips(const char *text) {
    size_t size = strlen(text);
    uint8_t *exact = malloc(size > 0 ? size : 1);
    memcpy(exact, text, size);
    struct json j = json_of(exact, size);
    json_skip(&j);
    json_end(&j);
    bool ok = json_ok(&j);
    free(exact);
    return ok;
}

TEST(a_skipped_value_is_checked_all_the_same) {
    OK(skips("null"));
    OK(skips(" [1,-0.5e+10,true,false,{\"a\":[],\"b\":{}},\"x\\u0000\"] "));
    OK(skips("0"));
    OK(!skips("01"));
    OK(!skips("1."));
    OK(!skips(".5"));
    OK(!skips("+1"));
    OK(!skips("-"));
    OK(!skips("1e"));
    OK(!skips("nul"));
    OK(!skips("nullx"));
    OK(!skips("[1,]"));
    OK(!skips("[1 2]"));
    OK(!skips("[1}"));
    OK(!skips("{\"a\":1,\"a\":2}"));
    OK(!skips("{\"a\":{\"b\":1,\"\\u0062\":2}}"));
    OK(!skips("{\"a\"}"));
    OK(!skips("{1:2}"));
    OK(!skips("\"a"));
    OK(!skips("\"a\\"));
    OK(!skips("1e999 1"));
    OK(skips("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"));
    OK(!skips("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"));
}

static bool number(const char *text, uint64_t *out) {
    char copy[64];
    struct json j = json_of((uint8_t *)copy, strlen(text));
    memcpy(copy, text, strlen(text));
    *out = json_u64(&j);
    json_end(&j);
    return json_ok(&j);
}

TEST(a_whole_number_keeps_all_its_digits) {
    uint64_t n;
    OK(number("9007199254740993", &n) && n == 9007199254740993u); /* 2^53 + 1, bug 49 */
    OK(number("18446744073709551615", &n) && n == UINT64_MAX);
    OK(number("0", &n) && n == 0);
    OK(!number("18446744073709551616", &n));
    OK(!number("1e3", &n));
    OK(!number("1.0", &n));
    OK(!number("-1", &n));
    OK(!number("01", &n));
    OK(!number("", &n));
}

static void appended(struct buffer *out, const char *text, size_t size) {
    buffer_clear(out);
    json_append(out, (struct bytes){(const uint8_t *)text, size});
}

TEST(strings_are_escaped_only_where_json_wants_it) {
    struct buffer out = {0};
    appended(&out, "a\"\\/\b\f\n\r\t\0\x1f\x7f\xc3\xa9", 14);
    OK(bytes_equal(buffer_bytes(&out), bytes_of("\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\xc3\xa9\"")));
    appended(&out, "", 0);
    OK(bytes_equal(buffer_bytes(&out), bytes_of("\"\"")));
    appended(&out, "a\xff\xc3\xa9\xc3", 5);
    OK(bytes_equal(buffer_bytes(&out), bytes_of("\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\"")));
    EQUAL(json_size(bytes_of("12345678\xff")), JSON_NOT_UTF8);
    EQUAL(json_size(bytes_of("1234567890123456")), 16);
    EQUAL(json_size(bytes_of("12345678\n\x01\"")), 18);
    buffer_release(&out);
}

TEST(what_is_written_reads_back_the_same_for_every_byte_at_every_place) {
    struct buffer out = {0};
    for (unsigned byte = 0; byte < 128; byte++) {
        for (size_t place = 0; place < 20; place++) {
            uint8_t text[20];
            memset(text, 'x', sizeof text);
            text[place] = (uint8_t)byte;
            struct bytes bytes = {text, sizeof text};
            size_t size = json_size(bytes);
            buffer_clear(&out);
            buffer_append_text(&out, "\"");
            uint8_t *at = buffer_reserve(&out, size + 1), *end = json_put(at, bytes, size);
            EQUAL(end - at, size);
            *end = '"';
            buffer_grow(&out, size + 1);
            struct json j = json_of(out.data, out.end);
            struct bytes back = json_string(&j);
            json_end(&j);
            OK(json_ok(&j) && bytes_equal(back, bytes));
        }
    }
    buffer_release(&out);
}

TESTS(TAP(a_set_body_is_read_strictly),
      TAP(every_prefix_and_every_flipped_bit_of_a_body_is_read_within_its_bounds),
      TAP(an_unknown_field_is_named), TAP(a_skipped_value_is_checked_all_the_same),
      TAP(a_whole_number_keeps_all_its_digits), TAP(strings_are_escaped_only_where_json_wants_it),
      TAP(what_is_written_reads_back_the_same_for_every_byte_at_every_place))
