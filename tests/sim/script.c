#include "tests/sim/script.h"

#include <stdarg.h>
#include <stdlib.h>

#include "tests/sim/check.h"

#define WORDS_MAX  16
#define SETTLE_US  (15 * SECOND)
#define ANSWER_US  (8 * SECOND)
#define SMALL_SIZE (64 * 1024)

struct script {
    struct sim *sim;
    FILE *out;
    struct client client;
    bool answered;
    size_t op;
    uint8_t ids[MACHINES_MAX][NODE_ID_SIZE]; /* of nodes that were named to others, or killed */
};

static void say(struct script *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct script *s, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("    ", s->out);
    vfprintf(s->out, format, arguments);
    fputc('\n', s->out);
    va_end(arguments);
}

static void node_said(void *arg, struct machine *m, const char *event, const char *text) {
    static const char *const told[] = {
        "founded",     "leads",         "steps_down",         "adopted",
        "group_lives", "start_over",    "founded_twice",      "waiting",
        "alone",       "majority_back", "snapshot_installed", "writes_overruled",
        "tail_cut",    "disk_failed",   "duplicate_id",       "leader_flag",
        "removed",     "member_again"};
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
        if (strcmp(event, told[i]) == 0)
            say(arg, "%u %s", m->index + 1, text);
}

static void client_answered(void *arg, struct client *client, const struct response *response) {
    struct script *s = arg;
    (void)client;
    s->answered = true;
    if (s->op != SIZE_MAX)
        check_answered(s->sim->check, s->op, response);
    if (response->status == 0)
        say(s, "no answer");
    else if (response->status == 200)
        say(s, "200 %.*s%s", (int)response->body.size, (const char *)response->body.data,
            response->degraded ? " (degraded)" : "");
    else
        say(s, "%u %s", response->status, response->error);
}

/* The machines that a word names; false where it names none. */
static bool each(struct script *s, const char *word, bool (*act)(struct script *s, struct machine *m)) {
    if (s->sim == NULL || word == NULL)
        return false;
    unsigned number = (unsigned)strtoul(word, NULL, 10);
    if (strcmp(word, "*") != 0 && (number == 0 || number > s->sim->options.machines))
        return false;
    for (unsigned i = 0; i < s->sim->options.machines; i++)
        if ((strcmp(word, "*") == 0 || number == i + 1) && !act(s, s->sim->machines[i]))
            return false;
    return true;
}

static bool command_nodes(struct script *s, char **words) {
    struct sim_options options = {
        .seed = 1, .machines = (unsigned)strtoul(words[1], NULL, 10), .voters_max = 5};
    if (options.machines == 0 || options.machines > MACHINES_MAX || s->sim != NULL)
        return false;
    if (words[2] != NULL)
        options.ack = strcmp(words[2], "quorum") == 0 ? ACK_QUORUM
                      : strcmp(words[2], "all") == 0  ? ACK_ALL
                                                      : ACK_ASYNC;
    s->sim = sim_new(&options);
    s->sim->said = node_said;
    s->sim->said_arg = s;
    sim_client_init(&s->client, s->sim, client_answered, s);
    return true;
}

static bool small_log(struct script *s, struct machine *m) {
    (void)s;
    m->segment_size = m->snapshot_log_size = SMALL_SIZE;
    return true;
}

static bool deaf(struct script *s, struct machine *m) {
    (void)s;
    m->broadcast = false;
    return true;
}

static bool command_peers(struct script *s, char **words) {
    unsigned from = (unsigned)strtoul(words[1], NULL, 10), to = (unsigned)strtoul(words[2], NULL, 10);
    if (s->sim == NULL || from == 0 || from > s->sim->options.machines || to == 0 ||
        to > s->sim->options.machines)
        return false;
    s->sim->machines[from - 1]->named[to - 1] = true;
    return true;
}

static bool start(struct script *s, struct machine *m) {
    if (m->node != NULL)
        return true;
    machine_power_on(m);
    if (!machine_start(m))
        say(s, "%u does not start: %s", m->index + 1, m->last_failure);
    return true;
}

static bool start_leader(struct script *s, struct machine *m) {
    m->leader_flag = true;
    start(s, m);
    m->leader_flag = false;
    return true;
}

static bool command_start(struct script *s, char **words) {
    return each(s, words[1], words[2] != NULL ? start_leader : start);
}

static bool kill_node(struct script *s, struct machine *m) {
    if (m->node != NULL)
        memcpy(s->ids[m->index], node_self(m->node)->id, NODE_ID_SIZE);
    machine_kill(m);
    return true;
}

static bool power(struct script *s, struct machine *m) {
    (void)s;
    machine_power_cut(m);
    return true;
}

static bool stop(struct script *s, struct machine *m) {
    machine_stop(m);
    for (unsigned i = 0; i < 50 && m->node != NULL; i++)
        sim_run(s->sim, 100 * MS);
    say(s, m->node == NULL ? "%u has stopped" : "%u does not stop", m->index + 1);
    return true;
}

static bool pause_node(struct script *s, struct machine *m) {
    (void)s;
    machine_pause(m);
    return true;
}

static bool resume(struct script *s, struct machine *m) {
    (void)s;
    machine_resume(m);
    return true;
}

static bool wipe(struct script *s, struct machine *m) {
    (void)s;
    if (m->node != NULL)
        return false;
    machine_wipe(m);
    return true;
}

static bool command_run(struct script *s, char **words) {
    char *unit;
    uint64_t time = strtoul(words[1], &unit, 10);
    if (s->sim == NULL || (strcmp(unit, "ms") != 0 && strcmp(unit, "s") != 0))
        return false;
    sim_run(s->sim, time * (strcmp(unit, "s") == 0 ? SECOND : MS));
    return true;
}

/* All that run have applied the same, one of them leads, and each belongs to its group. */
static bool settled(const struct sim *sim) {
    bool led = false;
    uint64_t last = 0;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        if (m->node == NULL)
            continue;
        const struct raft *raft = replica_raft(node_replica(m->node));
        const struct log *log = replica_log(node_replica(m->node));
        last = log_last(log) > last ? log_last(log) : last;
        led = led || raft_role(raft) == RAFT_LEADER;
    }
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        if (m->node != NULL && (replica_applied(node_replica(m->node)) != last ||
                                raft_commit(replica_raft(node_replica(m->node))) != last))
            return false;
    }
    return led;
}

static bool command_settle(struct script *s) {
    uint64_t end = s->sim->now_us + SETTLE_US;
    sim_run(s->sim, 1200 * MS); /* founding and joining come to rest */
    while (s->sim->now_us < end && s->sim->violation[0] == '\0' && !settled(s->sim))
        sim_run(s->sim, 50 * MS);
    if (!settled(s->sim))
        say(s, "not settled");
    return true;
}

static void ask(struct script *s, struct machine *m, struct buffer *request) {
    s->answered = false;
    sim_client_ask(&s->client, m, (const char *)request->data);
    uint64_t end = s->sim->now_us + ANSWER_US;
    while (!s->answered && s->sim->now_us < end && s->sim->violation[0] == '\0')
        sim_run(s->sim, 1 * MS);
    if (!s->answered) {
        sim_client_give_up(&s->client);
        say(s, "no answer within 8 s");
    }
    buffer_release(request);
}

static struct machine *machine_named(struct script *s, const char *word) {
    unsigned number = s->sim != NULL && word != NULL ? (unsigned)strtoul(word, NULL, 10) : 0;
    return number == 0 || number > s->sim->options.machines ? NULL : s->sim->machines[number - 1];
}

static bool command_set(struct script *s, char **words) {
    struct machine *m = machine_named(s, words[1]);
    struct buffer request = {0};
    char *value = words[2] != NULL ? strchr(words[2], '=') : NULL;
    if (m == NULL || value == NULL)
        return false;
    *value++ = '\0';
    s->op = SIZE_MAX;
    request_set(&request, words[2], value, words[3], (struct version){0, 0});
    ask(s, m, &request);
    return true;
}

/* after NODE TERM.INDEX KEY: a read with KV-After. */
static bool command_after(struct script *s, char **words) {
    struct machine *m = machine_named(s, words[1]);
    struct buffer request = {0};
    if (m == NULL || words[2] == NULL || words[3] == NULL)
        return false;
    s->op = SIZE_MAX;
    request_after(&request, words[3], words[2]);
    ask(s, m, &request);
    return true;
}

static bool get(struct script *s, char **words, bool linearizable) {
    struct machine *m = machine_named(s, words[1]);
    struct buffer request = {0};
    if (m == NULL || words[2] == NULL)
        return false;
    s->op = SIZE_MAX;
    request_get(&request, words[2], linearizable);
    ask(s, m, &request);
    return true;
}

/* leave ASKED NODE, and so on. A node that does not run is named by the id it had. */
static bool command_members(struct script *s, char **words) {
    struct machine *asked = machine_named(s, words[1]), *m = machine_named(s, words[2]);
    struct buffer request = {0};
    if (asked == NULL || m == NULL)
        return false;
    struct address address = network_peer_address(m->index);
    if (m->node != NULL)
        memcpy(s->ids[m->index], node_self(m->node)->id, NODE_ID_SIZE);
    s->op = SIZE_MAX;
    request_members(&request, words[0], s->ids[m->index], &address);
    ask(s, asked, &request);
    return true;
}

static bool command_fill(struct script *s, char **words) {
    struct machine *m = machine_named(s, words[1]);
    if (m == NULL || words[2] == NULL || words[3] == NULL)
        return false;
    unsigned long count = strtoul(words[2], NULL, 10), size = strtoul(words[3], NULL, 10);
    char *value = calloc(1, size + 1);
    if (value == NULL)
        return false;
    memset(value, 'x', size);
    FILE *out = s->out;
    s->op = SIZE_MAX;
    s->out = fopen("/dev/null", "w");
    for (unsigned long i = 0; i < count && s->out != NULL; i++) {
        struct buffer request = {0};
        char key[32];
        snprintf(key, sizeof key, "fill-%lu", i % 20);
        request_set(&request, key, value, NULL, (struct version){0, 0});
        ask(s, m, &request);
    }
    if (s->out != NULL)
        fclose(s->out);
    s->out = out;
    free(value);
    return true;
}

static bool command_partition(struct script *s, char **words) {
    unsigned side[MACHINES_MAX] = {0}, part = 1;
    for (char **word = words + 1; *word != NULL; word++) {
        struct machine *m = machine_named(s, *word);
        if (strcmp(*word, "|") == 0)
            part++;
        else if (m == NULL)
            return false;
        else
            side[m->index] = part;
    }
    for (unsigned i = 0; i < s->sim->options.machines; i++)
        for (unsigned j = 0; j < s->sim->options.machines; j++)
            s->sim->blocked[i][j] = side[i] != side[j];
    return true;
}

static bool show(struct script *s, struct machine *m) {
    if (m->node == NULL) {
        say(s, "%u does not run", m->index + 1);
        return true;
    }
    const struct replica *replica = node_replica(m->node);
    const struct raft *raft = replica_raft_view(replica);
    const struct configuration *configuration = raft_configuration(raft);
    size_t voters = configuration_voters(configuration);
    const char *role = raft_role(raft) == RAFT_LEADER             ? "leader"
                       : node_self(m->node)->role == NODE_REMOVED ? "removed"
                       : raft_role(raft) == RAFT_CANDIDATE        ? "candidate"
                       : configuration->count == 0                ? "newcomer"
                       : node_self(m->node)->role == NODE_LEARNER ? "learner"
                                                                  : "follower";
    say(s, "%u %s, term %llu, commit %llu, %llu keys, %zu voters of %zu members%s", m->index + 1, role,
        (unsigned long long)raft_term(raft), (unsigned long long)raft_commit(raft),
        (unsigned long long)store_count(replica_store(replica)), voters, configuration->count,
        configuration_is_joint(configuration) ? ", changing" : "");
    return true;
}

static bool ledger(struct script *s, struct machine *m) {
    static const char *const states[] = {[LEDGER_OVERRULED] = "overruled", [LEDGER_REJECTED] = "rejected"};
    const struct ledger *l = m->node != NULL ? replica_ledger(node_replica(m->node)) : NULL;
    if (l == NULL || ledger_count(l) == 0)
        say(s, "%u has nothing in its ledger", m->index + 1);
    for (size_t i = 0; l != NULL && i < ledger_count(l); i++) {
        const struct ledger_row *row = ledger_at(l, i);
        say(s, "%u %llu.%llu %s, answered: %s", m->index + 1, (unsigned long long)row->at.term,
            (unsigned long long)row->at.index, states[row->state], row->answered ? "yes" : "unknown");
    }
    return true;
}

static bool command(struct script *s, char **words) {
    static const struct {
        const char *name;
        bool (*act)(struct script *s, struct machine *m);
    } acts[] = {{"kill", kill_node}, {"power", power}, {"stop", stop},    {"pause", pause_node},
                {"resume", resume},  {"wipe", wipe},   {"ledger", ledger}};
    const char *name = words[0];
    if (strcmp(name, "nodes") == 0)
        return words[1] != NULL && command_nodes(s, words);
    if (s->sim == NULL)
        return false;
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        if (strcmp(name, acts[i].name) == 0)
            return each(s, words[1], acts[i].act);
    if (strcmp(name, "small-logs") == 0)
        return each(s, "*", small_log);
    if (strcmp(name, "no-broadcast") == 0)
        return each(s, "*", deaf);
    if (strcmp(name, "unchecked") == 0)
        return s->sim->unchecked = true;
    if (strcmp(name, "peers") == 0)
        return words[1] != NULL && words[2] != NULL && command_peers(s, words);
    if (strcmp(name, "start") == 0)
        return command_start(s, words);
    if (strcmp(name, "run") == 0)
        return words[1] != NULL && command_run(s, words);
    if (strcmp(name, "settle") == 0)
        return command_settle(s);
    if (strcmp(name, "set") == 0)
        return command_set(s, words);
    if (strcmp(name, "get") == 0 || strcmp(name, "read") == 0)
        return get(s, words, strcmp(name, "read") == 0);
    if (strcmp(name, "after") == 0)
        return command_after(s, words);
    if (strcmp(name, "leave") == 0 || strcmp(name, "join") == 0 || strcmp(name, "transfer") == 0)
        return command_members(s, words);
    if (strcmp(name, "fill") == 0)
        return command_fill(s, words);
    if (strcmp(name, "partition") == 0)
        return command_partition(s, words);
    if (strcmp(name, "heal") == 0) {
        memset(s->sim->blocked, 0, sizeof s->sim->blocked);
        return true;
    }
    return strcmp(name, "show") == 0 && each(s, "*", show);
}

static bool line(struct script *s, char *text) {
    char *words[WORDS_MAX + 1] = {0};
    size_t count = 0;
    if (text[0] == '#' || text[0] == '\n')
        return true;
    for (char *word; count < WORDS_MAX && (word = strsep(&text, " \n")) != NULL;)
        if (*word != '\0')
            words[count++] = word;
    return count == 0 || command(s, words);
}

bool script_run(FILE *in, FILE *out) {
    struct script s = {.out = out, .op = SIZE_MAX};
    char *text = NULL;
    size_t capacity = 0;
    bool ok = true;
    while (ok && getline(&text, &capacity, in) > 0) {
        if (text[0] == ' ')
            continue;
        fputs(text, out);
        ok = line(&s, text);
        if (!ok)
            say(&s, "no such command");
        if (s.sim != NULL && s.sim->violation[0] != '\0') {
            say(&s, "violated: %s", s.sim->violation);
            break;
        }
    }
    free(text);
    if (s.sim != NULL) {
        sim_client_release(&s.client);
        sim_free(s.sim);
    }
    return ok;
}
