/* kvctl: kvnode's commands for a terminal and for scripts.
 *
 * An answer is read with the strict reader of api/json_in.h, so that a value with NUL in it comes out whole.
 */
#include "api/client_io.h"
#include "api/json_in.h"
#include "api/json_out.h"
#include "cmd/version.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVER_DEFAULT "127.0.0.1:9000"
#define TIMEOUT_S      10

enum exit_code { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHED, EXIT_NO_KEY };

static const char help[] =
    "usage: kvctl [--server HOST:PORT] [--json] COMMAND\n"
    "\n"
    "  put KEY VALUE     set KEY\n"
    "  get KEY           print its value, and a newline\n"
    "  delete KEY        delete it, if it is there\n"
    "  keys [PREFIX]     print all keys, or those that begin with PREFIX, one a line\n"
    "  cluster nodes     print the nodes that are known\n"
    "  health            print how the node is\n"
    "\n"
    "  --server HOST:PORT  any node; $KVNODE_SERVER, or " SERVER_DEFAULT "\n"
    "  --json              print the answer's JSON as it came\n"
    "  --version, --help\n"
    "  --                  what follows are arguments, such as a key --json\n"
    "\n"
    "exit status: 0 done, 1 the node refused, 2 wrong usage, 3 no node reached, 4 no such key\n";

#define ARGUMENTS_MAX 3

struct options {
    const char *server;
    bool json, help, version;
    const char *arguments[ARGUMENTS_MAX];
    int count;
};

static int usage(const char *problem, const char *what) {
    fprintf(stderr, "kvctl: %s%s; kvctl --help shows the commands\n", problem, what);
    return EXIT_USAGE;
}

/* Options may stand anywhere. 0, or an exit code. */
static int read_options(int count, char **words, struct options *o) {
    bool only_arguments = false;
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        bool option = !only_arguments && word[0] == '-' && word[1] == '-';
        if (option && word[2] == '\0')
            only_arguments = true;
        else if (option && strcmp(word, "--json") == 0)
            o->json = true;
        else if (option && strcmp(word, "--help") == 0)
            o->help = true;
        else if (option && strcmp(word, "--version") == 0)
            o->version = true;
        else if (option && strncmp(word, "--server=", 9) == 0)
            o->server = word + 9;
        else if (option && strcmp(word, "--server") == 0 && i + 1 < count)
            o->server = words[++i];
        else if (option)
            return usage("unknown or unfinished option ", word);
        else if (o->count == ARGUMENTS_MAX)
            return usage("too many arguments from ", word);
        else
            o->arguments[o->count++] = word;
    }
    return 0;
}

/* ---- answers ---- */

static void print_bytes(struct bytes bytes) {
    fwrite(bytes.data, 1, bytes.size, stdout);
}

/* {"error":...,"message":...,"fix":...} to standard error. */
static int print_refusal(struct client_answer *answer) {
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
    return bytes_equal(error, bytes_of("not_found")) ? EXIT_NO_KEY : EXIT_REFUSED;
}

static int finish(const struct json *j) {
    if (json_ok(j))
        return EXIT_DONE;
    fprintf(stderr, "kvctl: the answer is not what kvnode says: %s\n", j->error);
    return EXIT_REFUSED;
}

static int print_value(struct json *j) {
    struct bytes name, value = {0};
    for (json_open_object(j); json_next_member(j, &name);) {
        if (bytes_equal(name, bytes_of("value")))
            value = json_string(j);
        else
            json_skip(j);
    }
    json_end(j);
    if (json_ok(j)) {
        print_bytes(value);
        putchar('\n');
    }
    return finish(j);
}

static int print_ok(struct json *j) {
    json_skip(j);
    json_end(j);
    if (json_ok(j))
        puts("ok");
    return finish(j);
}

static int print_keys(struct json *j) {
    struct bytes name;
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

static int print_nodes(struct json *j) {
    struct bytes name, self = {0};
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

/* "status: healthy" and so on, in the order of the answer. */
static int print_health(struct json *j) {
    struct bytes name;
    for (json_open_object(j); json_next_member(j, &name);) {
        struct bytes text = {0};
        if (json_peek(j) == '"') {
            text = json_string(j);
        } else {
            json_peek(j); /* skips white space */
            text.data = j->at;
            json_skip(j);
            text.size = json_ok(j) ? (size_t)(j->at - text.data) : 0;
        }
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

/* ---- commands ---- */

struct command {
    const char *name, *second;        /* second: a word behind the name, NULL for none */
    int arguments_min, arguments_max; /* behind both */
    const char *method, *path;        /* path: a key or prefix is appended */
    int (*print)(struct json *j);
};

static const struct command commands[] = {
    {"put", NULL, 2, 2, "POST", "/set", print_ok},
    {"get", NULL, 1, 1, "GET", "/get?key=", print_value},
    {"delete", NULL, 1, 1, "DELETE", "/delete?key=", print_ok},
    {"keys", NULL, 0, 1, "GET", "/keys?prefix=", print_keys},
    {"cluster", "nodes", 0, 0, "GET", "/cluster", print_nodes},
    {"health", NULL, 0, 0, "GET", "/health", print_health},
};

static const struct command *find_command(const struct options *o) {
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const struct command *c = &commands[i];
        if (o->count > 0 && strcmp(o->arguments[0], c->name) == 0 &&
            (c->second == NULL || (o->count > 1 && strcmp(o->arguments[1], c->second) == 0)))
            return c;
    }
    return NULL;
}

static int print_answer(const struct options *o, const struct command *command,
                        struct client_answer *answer) {
    if (answer->status != 200)
        return print_refusal(answer);
    if (o->json) {
        print_bytes(buffer_bytes(&answer->body));
        putchar('\n');
        return EXIT_DONE;
    }
    struct json j = json_of(answer->body.data + answer->body.start, buffer_size(&answer->body));
    return command->print(&j);
}

static int ask(const struct options *o, const struct command *command, struct bytes target,
               struct bytes body) {
    char why[CLIENT_WHY_MAX];
    struct client_answer answer = {0};
    struct client *client = client_open(o->server, TIMEOUT_S, why);
    int code = EXIT_UNREACHED;
    if (client != NULL && client_ask(client, command->method, target, body, &answer, why))
        code = print_answer(o, command, &answer);
    else
        fprintf(stderr, "kvctl: %s\n", why);
    buffer_release(&answer.body);
    client_close(client);
    return code;
}

static int run(const struct options *o, const struct command *command) {
    const char *const *arguments = o->arguments + (command->second != NULL ? 2 : 1);
    int count = o->count - (command->second != NULL ? 2 : 1);
    struct buffer target = {0}, body = {0};
    if (count < command->arguments_min || count > command->arguments_max)
        return usage("wrong number of arguments for ", command->name);
    for (int i = 0; i < count; i++)
        if (utf8_valid(bytes_of(arguments[i])) != strlen(arguments[i]))
            return usage("keys and values are UTF-8 text here: ", "an argument is not");
    if (strcmp(command->name, "keys") != 0 && count > 0 && arguments[0][0] == '\0')
        return usage("a key has at least one byte", "");
    buffer_append_text(&target, command->path);
    if (count == 1)
        client_escape(&target, bytes_of(arguments[0]));
    if (count == 2) {
        buffer_append_text(&body, "{\"key\":");
        json_append(&body, bytes_of(arguments[0]));
        buffer_append_text(&body, ",\"value\":");
        json_append(&body, bytes_of(arguments[1]));
        buffer_append_text(&body, "}");
    }
    int code = ask(o, command, buffer_bytes(&target), buffer_bytes(&body));
    buffer_release(&target);
    buffer_release(&body);
    return code;
}

int main(int count, char **words) {
    const char *server = getenv("KVNODE_SERVER");
    struct options o = {.server = server != NULL && server[0] != '\0' ? server : SERVER_DEFAULT};
    int code = read_options(count, words, &o);
    if (code != 0)
        return code;
    if (o.help || o.version) {
        fputs(o.help ? help : "kvctl " VERSION "\n", stdout);
        return EXIT_DONE;
    }
    if (o.count == 0)
        return usage("a command is missing", "");
    const struct command *command = find_command(&o);
    if (command == NULL)
        return usage("unknown command ", o.arguments[0]);
    code = run(&o, command);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        warn("standard output");
        return EXIT_REFUSED;
    }
    return code;
}
