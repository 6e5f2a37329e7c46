/* Histories as text. */
#include "tests/check/history.h"
#include "tests/tap.h"

static const char whole[] =
    "kvnode-history 1\n"
    "set process=1 node=2 begin=100 end=420 ok key=k1 value=v17 etag=2.9 client=c request=r\n"
    "set process=1 node=1 begin=500 unknown key=k1 value=a%20b%25 if-match=2.9\n"
    "set process=0 node=0 begin=500 end=501 failed key=k1 value=c etag=2.9 if-none-match=*\n"
    "delete process=2 node=1 begin=510 end=600 ok key=k1 if-match=* weak\n"
    "get process=3 node=3 begin=610 end=700 ok key=k1 value=v17 etag=2.9 linearizable\n"
    "get process=3 node=3 begin=710 end=800 ok key=k2 absent staleness-ms=4\n"
    "get process=3 node=3 begin=710 end=800 refused key=k2\n"
    "keys process=3 node=1 begin=810 end=900 ok prefix=k after=k1 limit=2 linearizable listed=k2,k7\n"
    "keys process=3 node=1 begin=810 end=900 ok listed=\n";

static bool read_text(struct history *h, const char *text, char *why, size_t size) {
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    history_init(h);
    bool ok = in != NULL && history_read(h, in, why, size);
    fclose(in);
    return ok;
}

TEST(a_history_is_written_as_it_was_read) {
    struct history h;
    char why[256] = "", written[2048] = "";
    OK(read_text(&h, whole, why, sizeof why));
    TEXT_EQUAL(why, "");
    FILE *out = fmemopen(written, sizeof written, "w");
    history_write(&h, out);
    fclose(out);
    TEXT_EQUAL(written, whole);
    EQUAL(h.count, 9);
    EQUAL(h.ops[7].listed_count, 2);
    EQUAL(h.ops[8].listed_count, 0);
    history_release(&h);
}

TEST(what_is_no_history_is_refused_with_its_line) {
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "line 0: it is empty"},
        {"set key=k\n", "line 1: a history begins with the line \"kvnode-history 1\""},
        {"kvnode-history 1\nmove begin=1 end=2 ok key=k\n", "line 2: no such kind of operation"},
        {"kvnode-history 1\n\n# note\nget begin=1 end=2 ok key=k\n",
         "line 4: a get that is ok has a value or is absent"},
        {"kvnode-history 1\nget begin=1 end=2 ok key=k value=v absent\n",
         "line 2: a get that is ok has a value or is absent"},
        {"kvnode-history 1\nget begin=3 end=2 ok key=k absent\n", "line 2: it ends before it begins"},
        {"kvnode-history 1\nget end=2 ok key=k absent\n", "line 2: begin and an outcome are required"},
        {"kvnode-history 1\nget begin=1 end=2 key=k absent\n", "line 2: begin and an outcome are required"},
        {"kvnode-history 1\nset begin=1 ok key=k value=v\n", "line 2: an outcome that is known has an end"},
        {"kvnode-history 1\nset begin=1 end=2 ok key=k\n", "line 2: a set has a value"},
        {"kvnode-history 1\nset begin=1 end=2 ok value=v\n",
         "line 2: set, delete and get have a key, keys has none"},
        {"kvnode-history 1\nset begin=1 end=2 ok key=k value=v client=c\n",
         "line 2: client and request come together"},
        {"kvnode-history 1\nget begin=1 end=2 ok key=k absent weak\n",
         "line 2: only writes are weak, have conditions or a pair"},
        {"kvnode-history 1\nset begin=x end=2 ok key=k value=v\n", "line 2: a field is unknown or malformed"},
        {"kvnode-history 1\nset begin=1 end=2 ok key=k value=v colour=red\n",
         "line 2: a field is unknown or malformed"},
        {"kvnode-history 1\nset begin=1 end=2 ok key=k value=%0\n",
         "line 2: a field is unknown or malformed"},
        {"kvnode-history 1\nset begin=1 end=2 ok key=k value=%00\n",
         "line 2: a field is unknown or malformed"},
        {"kvnode-history 1\nkeys begin=1 end=2 ok\n", "line 2: a listing that is ok has what it listed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct history h;
        char why[256] = "";
        OK(!read_text(&h, rows[i].text, why, sizeof why));
        TEXT_EQUAL(why, rows[i].why);
        history_release(&h);
    }
}

TEST(no_damage_to_a_history_harms_its_reader) {
    char text[sizeof whole], why[256];
    struct history h;
    for (size_t i = 0; i + 1 < sizeof whole; i++) {
        memcpy(text, whole, sizeof whole);
        text[i] = '\0';
        if (i > 0)
            read_text(&h, text, why, sizeof why), history_release(&h);
        for (const char *c = "\n =%,*"; *c != '\0'; c++) {
            memcpy(text, whole, sizeof whole);
            text[i] = *c;
            read_text(&h, text, why, sizeof why);
            history_release(&h);
        }
    }
    OK(true);
}

TESTS(TAP(a_history_is_written_as_it_was_read), TAP(what_is_no_history_is_refused_with_its_line),
      TAP(no_damage_to_a_history_harms_its_reader))
