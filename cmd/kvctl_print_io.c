#include "cmd/kvctl.h"

#include <stdio.h>

void print_bytes(struct bytes bytes) {
    fwrite(bytes.data, 1, bytes.size, stdout);
}

static int refusal_code(unsigned status, struct bytes error) {
    if (bytes_equal(error, bytes_of("not_found")))
        return EXIT_NO_KEY;
    if (status == 412)
        return EXIT_CONDITION;
    return bytes_equal(error, bytes_of("outcome_unknown")) ? EXIT_UNKNOWN : EXIT_REFUSED;
}

/* {"error":...,"message":...,"fix":...} to standard error. */
int print_refusal(struct client_answer *answer) {
    struct json j = json_of(answer->body.data + answer->body.start, buffer_size(&answer->body));
    struct bytes name, error = {0}, message = {0}, fix = {0};
    for (json_open_object(&j); json_next_member(&j, &name);) {
        if (bytes_equal(name, bytes_of("error")))
            error = json_string(&j);
        else if (bytes_equal(name, bytes_of("message")))
            message = json_string(&j);
        else if (bytes_equal(name, bytes_of("fix")))
            fix = json_string(&j);
        else
            json_skip(&j);
    }
    json_end(&j);
    if (!json_ok(&j)) {
        fprintf(stderr, "kvctl: the node answered with status %u\n", answer->status);
        return EXIT_REFUSED;
    }
    fprintf(stderr, "kvctl: %.*s: %.*s\n       %.*s\n", (int)error.size, (const char *)error.data,
            (int)message.size, (const char *)message.data, (int)fix.size, (const char *)fix.data);
    return refusal_code(answer->status, error);
}

int finish(const struct json *j) {
    if (json_ok(j))
        return EXIT_DONE;
    fprintf(stderr, "kvctl: the answer is not what kvnode says: %s\n", j->error);
    return EXIT_REFUSED;
}

/* The string member of this name; others are skipped. */
static struct bytes read_member(struct json *j, const char *wanted) {
    struct bytes name, value = {0};
    for (json_open_object(j); json_next_member(j, &name);) {
        if (bytes_equal(name, bytes_of(wanted)))
            value = json_string(j);
        else
            json_skip(j);
    }
    json_end(j);
    return value;
}

int print_value(const struct options *o, struct json *j) {
    struct bytes value = read_member(j, "value");
    if (json_ok(j)) {
        print_bytes(value);
        if (!o->raw)
            putchar('\n');
    }
    return finish(j);
}

int print_level(const struct options *o, struct json *j) {
    struct bytes level = read_member(j, "level");
    (void)o;
    if (json_ok(j)) {
        print_bytes(level);
        putchar('\n');
    }
    return finish(j);
}

int print_ok(const struct options *o, struct json *j) {
    (void)o;
    json_skip(j);
    json_end(j);
    if (json_ok(j))
        puts("ok");
    return finish(j);
}

int print_keys(const struct options *o, struct json *j) {
    struct bytes name;
    (void)o;
    for (json_open_object(j); json_next_member(j, &name);) {
        if (!bytes_equal(name, bytes_of("keys"))) {
            json_skip(j);
            continue;
        }
        for (json_open_array(j); json_next_element(j);) {
            struct bytes key = json_string(j);
            if (json_ok(j)) {
                print_bytes(key);
                putchar('\n');
            }
        }
    }
    json_end(j);
    return finish(j);
}

struct node_row {
    struct bytes id, address;
    uint64_t group;
    bool leader;
};

static struct node_row read_node(struct json *j) {
    struct node_row row = {0};
    struct bytes name;
    for (json_open_object(j); json_next_member(j, &name);) {
        if (bytes_equal(name, bytes_of("node_id")))
            row.id = json_string(j);
        else if (bytes_equal(name, bytes_of("address")))
            row.address = json_string(j);
        else if (bytes_equal(name, bytes_of("group_id")))
            row.group = json_u64(j);
        else if (bytes_equal(name, bytes_of("is_leader")))
            row.leader = json_bool(j);
        else
            json_skip(j);
    }
    return row;
}

static void print_row(struct json *j, struct bytes self) {
    struct node_row row = read_node(j);
    if (!json_ok(j))
        return;
    printf("%-17.*s %-22.*s %5llu  %s%s\n", (int)row.id.size, (const char *)row.id.data,
           (int)row.address.size, (const char *)row.address.data, (unsigned long long)row.group,
           row.leader ? "leader" : "-", bytes_equal(row.id, self) ? " (asked)" : "");
}

int print_nodes(const struct options *o, struct json *j) {
    struct bytes name, self = {0};
    (void)o;
    printf("%-17s %-22s %5s  %s\n", "NODE", "ADDRESS", "GROUP", "ROLE");
    for (json_open_object(j); json_next_member(j, &name);) {
        if (bytes_equal(name, bytes_of("self_node_id"))) {
            self = json_string(j);
        } else if (bytes_equal(name, bytes_of("nodes"))) {
            for (json_open_array(j); json_next_element(j);)
                print_row(j, self);
        } else {
            json_skip(j);
        }
    }
    json_end(j);
    return finish(j);
}

/* A value of any kind, as text. */
static struct bytes read_text(struct json *j) {
    struct bytes text;
    if (json_peek(j) == '"') /* skips white space */
        return json_string(j);
    text.data = j->at;
    json_skip(j);
    text.size = json_ok(j) ? (size_t)(j->at - text.data) : 0;
    return text;
}

/* "status: healthy" and so on, in the order of the answer. */
int print_health(const struct options *o, struct json *j) {
    struct bytes name;
    (void)o;
    for (json_open_object(j); json_next_member(j, &name);) {
        struct bytes text = read_text(j);
        if (!json_ok(j))
            break;
        print_bytes(name);
        fputs(": ", stdout);
        print_bytes(text);
        putchar('\n');
    }
    json_end(j);
    return finish(j);
}

/* ---- cluster status ---- */

static void print_server(const char *server, struct json *j) {
    enum { STATUS, ROLE, GROUP, KEYS, REJECTED, REASON, FIX, TEXTS };
    static const char *const names[TEXTS] = {"status", "role", "group", "keys", "rejected", "reason", "fix"};
    struct bytes name, texts[TEXTS] = {{0}};
    for (json_open_object(j); json_next_member(j, &name);) {
        struct bytes text = read_text(j);
        for (size_t i = 0; i < TEXTS; i++)
            if (bytes_equal(name, bytes_of(names[i])))
                texts[i] = text;
    }
    printf("%-22s %-11.*s %-10.*s %5.*s %9.*s %9.*s\n", server, (int)texts[STATUS].size,
           (const char *)texts[STATUS].data, (int)texts[ROLE].size, (const char *)texts[ROLE].data,
           (int)texts[GROUP].size, (const char *)texts[GROUP].data, (int)texts[KEYS].size,
           (const char *)texts[KEYS].data, texts[REJECTED].size > 0 ? (int)texts[REJECTED].size : 1,
           texts[REJECTED].size > 0 ? (const char *)texts[REJECTED].data : "0");
    if (texts[REASON].size > 0)
        printf("    %.*s.\n    %.*s\n", (int)texts[REASON].size, (const char *)texts[REASON].data,
               (int)texts[FIX].size, (const char *)texts[FIX].data);
}

static bool show_server(const char *server) {
    char why[CLIENT_WHY_MAX];
    struct client_answer answer = {0};
    struct client *client = client_open(server, 2, why);
    bool ok = client != NULL &&
              client_ask(client, "GET", bytes_of("/health"), "", (struct bytes){0}, &answer, why) &&
              answer.status == 200;
    struct json j = answer_json_of(&answer);
    if (ok)
        print_server(server, &j);
    else
        printf("%-22s %-11s\n", server, "unreached");
    buffer_release(&answer.body);
    client_close(client);
    return ok;
}

int show_status(const struct options *o) {
    struct question q = {.method = "GET"};
    struct client_answer answer = {0};
    struct options up = *o;
    up.server_count = 0;
    printf("%-22s %-11s %-10s %5s %9s %9s\n", "SERVER", "STATUS", "ROLE", "GROUP", "KEYS", "REJECTED");
    for (int i = 0; i < o->server_count; i++)
        if (show_server(o->servers[i]))
            up.servers[up.server_count++] = o->servers[i];
    if (up.server_count == 0)
        return EXIT_UNREACHED;
    putchar('\n');
    buffer_append_text(&q.target, "/cluster");
    int code = ask_for(&up, &q, &answer);
    if (code == EXIT_DONE) {
        struct json j = answer_json_of(&answer);
        code = print_nodes(o, &j);
        buffer_release(&answer.body);
    }
    question_release(&q);
    return code;
}
