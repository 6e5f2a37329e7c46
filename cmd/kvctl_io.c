/* kvctl: kvnode's commands for a terminal and for scripts.
 *
 * An answer is read with the strict reader of api/json_in.h, so that a value with NUL in it comes out whole.
 */
#include "cmd/kvctl.h"

#include "api/json_out.h"
#include "cmd/version.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SERVER_DEFAULT "127.0.0.1:9000"
#define VALUE_MAX      (1024 * 1024)

static const char help[] =
    "usage: kvctl [OPTIONS] COMMAND\n"
    "\n"
    "keys\n"
    "  put KEY VALUE        set KEY; VALUE - reads it from standard input, byte for byte\n"
    "  get KEY              print its value, and a newline\n"
    "  version KEY          print its version, for --if-version\n"
    "  delete KEY           delete it, if it is there\n"
    "  keys [PREFIX]        print all keys, or those that begin with PREFIX, one a line\n"
    "\n"
    "cluster\n"
    "  cluster nodes        print the group's members and how far each is, and other nodes\n"
    "  cluster join ID IP:PORT    make a node a member, by the address of its cluster port\n"
    "  cluster leave ID           take a member out; its data stays where it is\n"
    "  cluster transfer ID        have this voter lead\n"
    "  cluster slots [KEY]  print which group owns which slots, or KEY's slot and its group\n"
    "  cluster status       print how each server is, then the nodes; --watch draws it again every second\n"
    "  health               print how the node is\n"
    "  metrics              print its metrics, in Prometheus' form\n"
    "  log-level [LEVEL]    print the level of its log, or change it: debug, info, notice, warning, error\n"
    "\n"
    "writes that an async leader had taken and a later leader overruled; each node has its own\n"
    "  rejected list              print them\n"
    "  rejected apply POSITION    write it again, as a new write, then drop it; POSITION all: every one\n"
    "  rejected drop POSITION     forget it; POSITION all: every one\n"
    "\n"
    "the data directory of a stopped node, without asking any node\n"
    "  directory check DIR        print what each file holds, and what is damaged; writes nothing.\n"
    "                             Exit status 0: whole; 1: damaged; 2: cannot be examined\n"
    "  directory mend DIR         print what can be done about the damage, and do it with --yes\n"
    "\n"
    "options, anywhere\n"
    "  --server LIST        host:port,... tried in turn; $KVNODE_SERVER, or " SERVER_DEFAULT ".\n"
    "                       A write goes to the next one only if it surely was not sent\n"
    "  --if-absent          put, rejected apply: only where the key is not there\n"
    "  --if-version V       put, delete: only where the key has this version\n"
    "  --ack MODE           put, delete: quorum or all, where the group's own mode is weaker\n"
    "  --linearizable       get, version, keys: a read that a majority confirms\n"
    "  --raw                get: the value alone, without a newline\n"
    "  --ready              health: fail unless the node can serve\n"
    "  --yes                directory mend: do it without asking\n"
    "  --lose-writes-after INDEX  directory mend: of a group's only voter, cut the log there\n"
    "  --json               print the answer's JSON as it came\n"
    "  --watch, --version, --help\n"
    "  --                   what follows are arguments, such as a key --json\n"
    "\n"
    "exit status: 0 done, 1 the node refused, 2 wrong usage, 3 no node reached, 4 no such key, 5 the "
    "condition\n"
    "does not hold, 6 the outcome of a write is unknown: read the key before writing again\n"
    "\n"
    "examples\n"
    "  kvctl put username alice && kvctl get username\n"
    "  kvctl put config - < config.json; kvctl get config --raw > copy.json\n"
    "  kvctl put lock $HOSTNAME --if-absent || echo 'somebody else has it'\n"
    "  v=$(kvctl version counter); kvctl put counter 2 --if-version $v\n"
    "  export KVNODE_SERVER=10.0.0.1:9000,10.0.0.2:9000,10.0.0.3:9000; kvctl cluster status --watch\n"
    "  until kvctl health --ready; do sleep 1; done\n";

int usage(const char *problem, const char *what) {
    fprintf(stderr, "kvctl: %s%s; kvctl --help shows the commands\n", problem, what);
    return EXIT_USAGE;
}

/* ---- options ---- */

static int split_servers(struct options *o, const char *list) {
    size_t size = strlen(list) + 1;
    char *at = o->server_text, *server;
    o->server_count = 0;
    if (size > sizeof o->server_text)
        return usage("--server is too long", "");
    memcpy(o->server_text, list, size);
    while ((server = strsep(&at, ",")) != NULL) {
        if (server[0] == '\0' || o->server_count == SERVERS_MAX)
            return usage(server[0] == '\0' ? "an empty server in " : "too many servers in ", list);
        o->servers[o->server_count++] = server;
    }
    return 0;
}

static bool read_switch(struct options *o, const char *word) {
    const struct {
        const char *name;
        bool *to;
    } switches[] = {
        {"--json", &o->json},       {"--help", &o->help},
        {"--version", &o->version}, {"--linearizable", &o->linearizable},
        {"--raw", &o->raw},         {"--if-absent", &o->if_absent},
        {"--ready", &o->ready},     {"--watch", &o->watch},
        {"--yes", &o->yes},
    };
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
        if (strcmp(word, switches[i].name) == 0)
            return *switches[i].to = true;
    return false;
}

/* --name VALUE or --name=VALUE. True where the word is this option and has a value. */
static bool read_value(char **words, int count, int *i, const char *name, const char **out) {
    size_t size = strlen(name);
    const char *word = words[*i];
    if (strncmp(word, name, size) == 0 && word[size] == '=')
        *out = word + size + 1;
    else if (strcmp(word, name) == 0 && *i + 1 < count)
        *out = words[++*i];
    else
        return false;
    return true;
}

/* Options may stand anywhere. 0, or an exit code. */
static int read_options(int count, char **words, struct options *o, const char **servers) {
    bool only_arguments = false;
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        bool option = !only_arguments && word[0] == '-' && word[1] == '-';
        if (option && word[2] == '\0') {
            only_arguments = true;
        } else if (option) {
            if (!read_switch(o, word) && !read_value(words, count, &i, "--server", servers) &&
                !read_value(words, count, &i, "--if-version", &o->if_version) &&
                !read_value(words, count, &i, "--ack", &o->ack) &&
                !read_value(words, count, &i, "--lose-writes-after", &o->lose_after))
                return usage("unknown or unfinished option ", word);
        } else if (o->count == ARGUMENTS_MAX) {
            return usage("too many arguments from ", word);
        } else {
            o->arguments[o->count++] = word;
        }
    }
    return 0;
}

/* ---- requests ---- */

struct json answer_json_of(struct client_answer *answer) {
    return json_of(answer->body.data + answer->body.start, buffer_size(&answer->body));
}

void append_set_body(struct buffer *out, struct bytes key, struct bytes value) {
    buffer_append_text(out, "{\"key\":");
    json_append(out, key);
    buffer_append_text(out, ",\"value\":");
    json_append(out, value);
    buffer_append_text(out, "}");
}

/* Standard input to its end. False with a line where it cannot be a value. */
static bool read_input(struct buffer *out) {
    while (buffer_size(out) <= VALUE_MAX) {
        ssize_t got = read(STDIN_FILENO, buffer_reserve(out, 65536), 65536);
        if (got < 0) {
            warn("standard input");
            return false;
        }
        if (got == 0)
            return true;
        buffer_grow(out, (size_t)got);
    }
    fputs("kvctl: the value on standard input is larger than 1048576 bytes\n", stderr);
    return false;
}

/* 0, or an exit code. */
static int check_text(struct bytes text, const char *what) {
    if (utf8_valid(text) == text.size)
        return 0;
    return usage(
        "JSON carries UTF-8 text alone, so encode other bytes, as base64 for example: no text is the ", what);
}

static void add_parameter(struct question *q, const char *name, const char *value) {
    struct bytes target = buffer_bytes(&q->target);
    buffer_append_text(&q->target, memchr(target.data, '?', target.size) == NULL ? "?" : "&");
    buffer_append_text(&q->target, name);
    buffer_append_text(&q->target, "=");
    client_escape(&q->target, bytes_of(value));
}

static int add_conditions(const struct options *o, struct question *q) {
    if (o->if_absent && o->if_version != NULL)
        return usage("--if-absent and --if-version stand together", "");
    if (o->if_absent)
        snprintf(q->headers, sizeof q->headers, "If-None-Match: *\r\n");
    if (o->if_version != NULL) {
        if (o->if_version[0] == '\0' || strspn(o->if_version, "0123456789.") != strlen(o->if_version) ||
            strlen(o->if_version) > 48)
            return usage("no version, as kvctl version KEY prints one: ", o->if_version);
        snprintf(q->headers, sizeof q->headers, "If-Match: \"%s\"\r\n", o->if_version);
    }
    if (o->ack != NULL)
        add_parameter(q, "ack", o->ack);
    return 0;
}

/* ---- commands ---- */

struct command {
    const char *name, *second;        /* second: a word behind the name, NULL for none */
    int arguments_min, arguments_max; /* behind both */
    const char *method, *path;        /* path: a key or prefix is appended */
    int (*print)(const struct options *o, struct json *j);
    int (*run)(const struct options *o); /* instead of one request and its print */
};

static int run_put(const struct options *o);
static int run_version(const struct options *o);
static int run_metrics(const struct options *o);
static int run_level(const struct options *o);
static int run_status(const struct options *o);
static int run_slots(const struct options *o);

static const struct command commands[] = {
    {"put", NULL, 2, 2, NULL, NULL, NULL, run_put},
    {"get", NULL, 1, 1, "GET", "/get?key=", print_value, NULL},
    {"version", NULL, 1, 1, NULL, NULL, NULL, run_version},
    {"delete", NULL, 1, 1, "DELETE", "/delete?key=", print_ok, NULL},
    {"keys", NULL, 0, 1, "GET", "/keys?prefix=", print_keys, NULL},
    {"cluster", "nodes", 0, 0, "GET", "/cluster/nodes", print_members, NULL},
    {"cluster", "join", 2, 2, NULL, NULL, NULL, cluster_join},
    {"cluster", "leave", 1, 1, NULL, NULL, NULL, cluster_leave},
    {"cluster", "transfer", 1, 1, NULL, NULL, NULL, cluster_transfer},
    {"cluster", "slots", 0, 1, NULL, NULL, NULL, run_slots},
    {"cluster", "status", 0, 0, NULL, NULL, NULL, run_status},
    {"health", NULL, 0, 0, "GET", "/health", print_health, NULL},
    {"metrics", NULL, 0, 0, NULL, NULL, NULL, run_metrics},
    {"log-level", NULL, 0, 1, NULL, NULL, NULL, run_level},
    {"rejected", "list", 0, 0, NULL, NULL, NULL, rejected_list},
    {"rejected", "apply", 1, 1, NULL, NULL, NULL, rejected_apply},
    {"rejected", "drop", 1, 1, NULL, NULL, NULL, rejected_drop},
    {"directory", "check", 1, 1, NULL, NULL, NULL, directory_check},
    {"directory", "mend", 1, 1, NULL, NULL, NULL, directory_mend},
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

int ask_and_print(const struct options *o, const struct question *q,
                  int (*print)(const struct options *o, struct json *j)) {
    struct client_answer answer = {0};
    int code = ask_for(o, q, &answer);
    if (code != EXIT_DONE)
        return code;
    struct json j = answer_json_of(&answer);
    if (o->json) {
        print_bytes(buffer_bytes(&answer.body));
        putchar('\n');
    } else {
        code = print(o, &j);
    }
    buffer_release(&answer.body);
    return code;
}

static int run_put(const struct options *o) {
    struct question q = {.method = "POST"};
    struct buffer input = {0};
    bool from_input = strcmp(o->arguments[2], "-") == 0;
    buffer_append_text(&q.target, "/set");
    int code = add_conditions(o, &q);
    if (code == 0 && from_input && !read_input(&input))
        code = EXIT_USAGE;
    struct bytes value = from_input ? buffer_bytes(&input) : bytes_of(o->arguments[2]);
    if (code == 0)
        code = check_text(bytes_of(o->arguments[1]), "key");
    if (code == 0)
        code = check_text(value, "value");
    if (code == 0) {
        append_set_body(&q.body, bytes_of(o->arguments[1]), value);
        code = ask_and_print(o, &q, print_ok);
    }
    buffer_release(&input);
    question_release(&q);
    return code;
}

static int run_version(const struct options *o) {
    struct question q = {.method = "GET"};
    struct client_answer answer = {0};
    buffer_append_text(&q.target, "/get?key=");
    client_escape(&q.target, bytes_of(o->arguments[1]));
    if (o->linearizable)
        add_parameter(&q, "consistency", "linearizable");
    int code = ask_for(o, &q, &answer);
    if (code == EXIT_DONE) {
        puts(answer.etag);
        buffer_release(&answer.body);
    }
    question_release(&q);
    return code;
}

static int run_metrics(const struct options *o) {
    struct question q = {.method = "GET"};
    struct client_answer answer = {0};
    buffer_append_text(&q.target, "/metrics");
    int code = ask_for(o, &q, &answer);
    if (code == EXIT_DONE) {
        print_bytes(buffer_bytes(&answer.body));
        buffer_release(&answer.body);
    }
    question_release(&q);
    return code;
}

static int run_level(const struct options *o) {
    struct question q = {.method = o->count > 1 ? "POST" : "GET"};
    buffer_append_text(&q.target, "/log-level");
    if (o->count > 1) {
        buffer_append_text(&q.body, "{\"level\":");
        json_append(&q.body, bytes_of(o->arguments[1]));
        buffer_append_text(&q.body, "}");
    }
    int code = ask_and_print(o, &q, print_level);
    question_release(&q);
    return code;
}

static int run_status(const struct options *o) {
    int code;
    do {
        if (o->watch)
            fputs("\033[H\033[J", stdout);
        code = show_status(o);
        if (fflush(stdout) != 0)
            return EXIT_REFUSED;
    } while (o->watch && sleep(1) == 0);
    return code;
}

/* The key is not asked about: its slot is computed here. */
static int run_slots(const struct options *o) {
    struct question q = {.method = "GET"};
    buffer_append_text(&q.target, "/cluster");
    int code = ask_and_print(o, &q, print_slots);
    question_release(&q);
    return code;
}

/* One request that names at most a key. */
static int run_simple(const struct options *o, const struct command *command, const char *argument) {
    struct question q = {.method = command->method};
    buffer_append_text(&q.target, command->path);
    if (argument != NULL)
        client_escape(&q.target, bytes_of(argument));
    int code = add_conditions(o, &q);
    if (o->linearizable)
        add_parameter(&q, "consistency", "linearizable");
    if (o->ready)
        add_parameter(&q, "ready", "1");
    if (code == 0)
        code = ask_and_print(o, &q, command->print);
    question_release(&q);
    return code;
}

static int run(const struct options *o, const struct command *command) {
    int words = command->second != NULL ? 2 : 1, count = o->count - words;
    const char *argument = count > 0 ? o->arguments[words] : NULL;
    if (count < command->arguments_min || count > command->arguments_max)
        return usage("wrong number of arguments for ", command->name);
    if (argument != NULL && argument[0] == '\0' && strcmp(command->name, "keys") != 0)
        return usage("a key has at least one byte", "");
    if (argument != NULL && check_text(bytes_of(argument), "key") != 0)
        return EXIT_USAGE;
    return command->run != NULL ? command->run(o) : run_simple(o, command, argument);
}

int main(int count, char **words) {
    const char *servers = getenv("KVNODE_SERVER");
    struct options o = {0};
    if (servers == NULL || servers[0] == '\0')
        servers = SERVER_DEFAULT;
    int code = read_options(count, words, &o, &servers);
    if (code == 0)
        code = split_servers(&o, servers);
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
