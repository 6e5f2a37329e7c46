#include "cmd/kvctl.h"

#include <stdio.h>

#include "api/json_out.h"

struct member_row {
    struct bytes id, address, role, state;
    uint64_t lag, heard_ms;
    bool voter, known; /* known: the leader was asked, which alone knows lag and silence */
};

static void read_number(struct json *j, uint64_t *out, bool *known) {
    if (json_peek(j) == 'n') {
        json_skip(j);
        *known = false;
    } else {
        *out = json_u64(j);
    }
}

static struct member_row read_member(struct json *j) {
    struct member_row row = {.known = true};
    struct bytes name;
    const struct {
        const char *name;
        struct bytes *to;
    } texts[] = {{"id", &row.id}, {"address", &row.address}, {"role", &row.role}, {"state", &row.state}};
    for (json_open_object(j); json_next_member(j, &name);) {
        size_t i = 0;
        while (i < sizeof texts / sizeof texts[0] && !bytes_equal(name, bytes_of(texts[i].name)))
            i++;
        if (i < sizeof texts / sizeof texts[0])
            *texts[i].to = json_string(j);
        else if (bytes_equal(name, bytes_of("voter")))
            row.voter = json_bool(j);
        else if (bytes_equal(name, bytes_of("lag")))
            read_number(j, &row.lag, &row.known);
        else if (bytes_equal(name, bytes_of("heard_ms")))
            read_number(j, &row.heard_ms, &row.known);
        else
            json_skip(j);
    }
    return row;
}

static void print_column(struct bytes text, int width) {
    printf("%-*.*s ", width, (int)text.size, text.data != NULL ? (const char *)text.data : "");
}

static void print_member(const struct member_row *row) {
    print_column(row->id, 16);
    print_column(row->address, 21);
    print_column(row->role, 8);
    printf("%-5s ", row->voter ? "yes" : "no");
    print_column(row->state, 9);
    if (row->known)
        printf("%8llu  %llu ms\n", (unsigned long long)row->lag, (unsigned long long)row->heard_ms);
    else
        printf("%8s  %s\n", "-", "-");
}

static void print_table(struct json *j) {
    printf("%-16s %-21s %-8s %-5s %-9s %8s  %s\n", "MEMBER", "ADDRESS", "ROLE", "VOTER", "STATE", "LAG",
           "HEARD");
    for (json_open_array(j); json_next_element(j);) {
        struct member_row row = read_member(j);
        if (json_ok(j))
            print_member(&row);
    }
}

/* Nodes that are no members, one a line behind a word. */
static void print_others(struct json *j, const char *word) {
    for (json_open_array(j); json_next_element(j);) {
        struct bytes name, id = {0}, address = {0}, why = {0};
        for (json_open_object(j); json_next_member(j, &name);) {
            if (bytes_equal(name, bytes_of("id")))
                id = json_string(j);
            else if (bytes_equal(name, bytes_of("address")))
                address = json_string(j);
            else if (bytes_equal(name, bytes_of("why")))
                why = json_string(j);
            else
                json_skip(j);
        }
        if (!json_ok(j))
            return;
        print_column(id, 16);
        print_column(address, 21);
        print_column(why.size > 0 ? why : bytes_of(word), 8);
        putchar('\n');
    }
}

int print_members(const struct options *o, struct json *j) {
    struct bytes name;
    (void)o;
    for (json_open_object(j); json_next_member(j, &name);) {
        if (bytes_equal(name, bytes_of("members")))
            print_table(j);
        else if (bytes_equal(name, bytes_of("removed")))
            print_others(j, "former");
        else if (bytes_equal(name, bytes_of("others")))
            print_others(j, "other");
        else
            json_skip(j);
    }
    json_end(j);
    return finish(j);
}

/* The arguments behind the two words of the command: an id and, for a join, an address. */
static int change(const struct options *o, const char *path) {
    struct question q = {.method = "POST"};
    buffer_append_text(&q.target, path);
    buffer_append_text(&q.body, "{\"id\":");
    json_append(&q.body, bytes_of(o->arguments[2]));
    if (o->count > 3) {
        buffer_append_text(&q.body, ",\"address\":");
        json_append(&q.body, bytes_of(o->arguments[3]));
    }
    buffer_append_text(&q.body, "}");
    int code = ask_and_print(o, &q, print_ok);
    question_release(&q);
    return code;
}

int cluster_join(const struct options *o) {
    return change(o, "/cluster/join");
}

int cluster_leave(const struct options *o) {
    return change(o, "/cluster/leave");
}

int cluster_transfer(const struct options *o) {
    return change(o, "/cluster/transfer");
}
