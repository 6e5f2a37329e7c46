#include "cmd/kvctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/json_out.h"

struct rejected_row {
    struct bytes key, value, position, operation, state, answered;
    bool encoded; /* key or value are not UTF-8: they came as base64 */
    uint64_t recorded_ms, by_term;
};

static struct rejected_row read_row(struct json *j) {
    struct rejected_row row = {0};
    struct bytes name;
    const struct {
        const char *name;
        struct bytes *to;
    } texts[] = {{"key", &row.key},           {"key_base64", &row.key},
                 {"value", &row.value},       {"value_base64", &row.value},
                 {"position", &row.position}, {"operation", &row.operation},
                 {"state", &row.state},       {"answered", &row.answered}};
    for (json_open_object(j); json_next_member(j, &name);) {
        size_t i = 0;
        while (i < sizeof texts / sizeof texts[0] && !bytes_equal(name, bytes_of(texts[i].name)))
            i++;
        if (i < sizeof texts / sizeof texts[0]) {
            *texts[i].to = json_string(j);
            row.encoded = row.encoded || i == 1 || i == 3;
        } else if (bytes_equal(name, bytes_of("recorded_ms"))) {
            row.recorded_ms = json_u64(j);
        } else if (bytes_equal(name, bytes_of("by_term"))) {
            row.by_term = json_u64(j);
        } else {
            json_skip(j);
        }
    }
    return row;
}

struct walk {
    const struct options *o;
    const char *wanted; /* a position; NULL: all rows */
    int (*each)(struct walk *walk, const struct rejected_row *row);
    bool raw; /* pages are printed as they came */
    size_t done;
    int code; /* the first that is not EXIT_DONE */
};

static void read_rows(struct walk *walk, struct json *j) {
    for (json_open_array(j); json_next_element(j);) {
        struct rejected_row row = read_row(j);
        if (!json_ok(j) || (walk->wanted != NULL && !bytes_equal(row.position, bytes_of(walk->wanted))))
            continue;
        int code = walk->each(walk, &row);
        walk->done++;
        if (walk->code == EXIT_DONE)
            walk->code = code;
    }
}

/* One page. *next: where the following one begins; empty: that was the last. */
static int walk_page(struct walk *walk, struct buffer *next) {
    struct question q = {.method = "GET"};
    struct client_answer answer = {0};
    struct bytes name;
    buffer_append_text(&q.target, "/rejected");
    if (buffer_size(next) > 0) {
        buffer_append_text(&q.target, "?after=");
        buffer_append(&q.target, buffer_bytes(next));
    }
    buffer_clear(next);
    int code = ask_for(walk->o, &q, &answer);
    question_release(&q);
    if (code != EXIT_DONE)
        return code;
    if (walk->raw) {
        print_bytes(buffer_bytes(&answer.body));
        putchar('\n');
    }
    struct json j = answer_json_of(&answer);
    for (json_open_object(&j); json_next_member(&j, &name);) {
        if (bytes_equal(name, bytes_of("rejected")))
            read_rows(walk, &j);
        else if (bytes_equal(name, bytes_of("next")))
            client_escape(next, json_string(&j));
        else
            json_skip(&j);
    }
    json_end(&j);
    code = finish(&j);
    buffer_release(&answer.body);
    return code;
}

static int walk_rows(struct walk *walk) {
    struct buffer next = {0};
    int code;
    do
        code = walk_page(walk, &next);
    while (code == EXIT_DONE && buffer_size(&next) > 0);
    buffer_release(&next);
    if (code != EXIT_DONE)
        return code;
    if (walk->wanted != NULL && walk->done == 0) {
        fprintf(stderr, "kvctl: the ledger has no row at %s; kvctl rejected list shows them\n", walk->wanted);
        return EXIT_NO_KEY;
    }
    return walk->code;
}

/* Quoted, so that nothing in it can move the cursor; cut to `max` bytes. */
static void print_quoted(struct bytes text, size_t max) {
    struct buffer quoted = {0};
    struct bytes part = {text.data, text.size > max ? utf8_valid((struct bytes){text.data, max}) : text.size};
    json_append(&quoted, part);
    print_bytes(buffer_bytes(&quoted));
    if (part.size < text.size)
        fputs("...", stdout);
    buffer_release(&quoted);
}

static int list_row(struct walk *walk, const struct rejected_row *row) {
    char when[32];
    if (walk->raw)
        return EXIT_DONE;
    time_t seconds = (time_t)(row->recorded_ms / 1000);
    struct tm parts;
    if (walk->done == 0)
        printf("%-16s %-9s %-8s %7s  %-20s  %s\n", "POSITION", "STATE", "ANSWERED", "BY TERM", "RECORDED",
               "WRITE");
    gmtime_r(&seconds, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    printf("%-16.*s %-9.*s %-8.*s %7" PRIu64 "  %s  %.*s ", (int)row->position.size,
           (const char *)row->position.data, (int)row->state.size, (const char *)row->state.data,
           (int)row->answered.size, (const char *)row->answered.data, row->by_term, when,
           (int)row->operation.size, (const char *)row->operation.data);
    print_quoted(row->key, 60);
    if (bytes_equal(row->operation, bytes_of("set"))) {
        putchar(' ');
        print_quoted(row->value, 40);
    }
    puts(row->encoded ? " (base64)" : "");
    return EXIT_DONE;
}

int rejected_list(const struct options *o) {
    struct walk walk = {.o = o, .each = list_row, .raw = o->json};
    return walk_rows(&walk);
}

static int drop_row(struct walk *walk, const struct rejected_row *row) {
    struct question q = {.method = "POST"};
    struct client_answer answer = {0};
    buffer_append_text(&q.target, "/rejected/drop");
    buffer_append_text(&q.body, "{\"position\":");
    json_append(&q.body, row->position);
    buffer_append_text(&q.body, "}");
    int code = ask_for(walk->o, &q, &answer);
    if (code == EXIT_DONE) {
        buffer_release(&answer.body);
        printf("dropped %.*s\n", (int)row->position.size, (const char *)row->position.data);
    }
    question_release(&q);
    return code;
}

/* Writes it again; the row is dropped only after that was answered. */
static int apply_row(struct walk *walk, const struct rejected_row *row) {
    bool set = bytes_equal(row->operation, bytes_of("set"));
    struct question q = {.method = set ? "POST" : "DELETE"};
    struct client_answer answer = {0};
    if (row->encoded) {
        fprintf(stderr, "kvctl: %.*s is not UTF-8, so that JSON cannot hold it; its row stays\n",
                (int)row->position.size, (const char *)row->position.data);
        return EXIT_REFUSED;
    }
    buffer_append_text(&q.target, set ? "/set" : "/delete?key=");
    if (set)
        append_set_body(&q.body, row->key, row->value);
    else
        client_escape(&q.target, row->key);
    if (walk->o->if_absent)
        snprintf(q.headers, sizeof q.headers, "If-None-Match: *\r\n");
    int code = ask_for(walk->o, &q, &answer);
    question_release(&q);
    if (code != EXIT_DONE)
        return code;
    buffer_release(&answer.body);
    printf("applied %.*s\n", (int)row->position.size, (const char *)row->position.data);
    return drop_row(walk, row);
}

/* The ledger belongs to one node: only that one is asked. */
static int change(const struct options *o, int (*each)(struct walk *walk, const struct rejected_row *row)) {
    bool all = strcmp(o->arguments[2], "all") == 0;
    struct walk walk = {.o = o, .wanted = all ? NULL : o->arguments[2], .each = each};
    if (o->server_count > 1)
        return usage("each node has a ledger of its own: name one server for ", "rejected");
    return walk_rows(&walk);
}

int rejected_apply(const struct options *o) {
    return change(o, apply_row);
}

int rejected_drop(const struct options *o) {
    return change(o, drop_row);
}
