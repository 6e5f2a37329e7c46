/* Runs tests/scenarios/<name>.txt: commands at the start of a line, the trace that each gave indented below
 * it.
 *
 *     nodes N [async|all] [of M]  N voters, and M nodes in all; they start with `start`
 *     prepare N T T ...           before the start: node N's log holds records of these terms; @T: its
 *                                 own term
 *     start                       starts every node
 *     run TIME                    e.g. 500ms
 *     disk TIME                   a sync takes that long, 1 ms otherwise
 *     elect N                     time passes for N's timers alone until it leads, 3 s at most
 *     settle                      until there is a leader whose last index is committed and durable
 *                                 everywhere, 5 s at most
 *     set N KEY=VALUE             proposes on node N; set * for the leader
 *     fill N COUNT                proposes COUNT records of 1 KiB, one each millisecond
 *     read N                      asks for a confirmed read on node N
 *     partition 1 2 | 3           messages pass within the parts only
 *     drop 1>2                    messages from 1 to 2 are lost
 *     heal                        messages pass again
 *     crash N, power N            the process ends: with `crash` the others see it at once; unsynced bytes
 *                                 survive a crash, not a power cut
 *     wipe N                      it has an empty disk from now on
 *     restart N
 *     transfer N                  the leader hands over to N
 *     add N, promote N, demote N, remove N
 *                                 a change of the configuration on the leader, several on one line in one
 *                                 step, by a joint configuration where the voters change; `once remove N`:
 *                                 without
 *     snapshot N                  node N takes a snapshot at its commit and compacts its log
 *     show                        each node's role, term, commit, and the terms of its log
 *     breach                      what was violated
 *
 * A scenario whose trace differs fails and prints both. With UPDATE_SCENARIOS set the files are written anew.
 */
#include "tests/tap.h"
#include "tests/unit/replication/world.h"

#include <dirent.h>
#include <err.h>

static const char folder[] = "tests/scenarios";

static void say(struct world *w, const char *text) {
    fprintf(w->trace, "    %s\n", text);
}

static struct node *named(struct world *w, const char *text) {
    if (strcmp(text, "*") == 0)
        return world_leader(w);
    const char *error;
    unsigned number = (unsigned)strtonum(text, 1, WORLD_NODES, &error);
    return error == NULL ? &w->nodes[number] : NULL;
}

static void command_nodes(struct world *w, char **words) {
    unsigned voters = (unsigned)atoi(words[1]);
    w->count = voters;
    for (char **word = words + 2; *word != NULL; word++) {
        if (strcmp(*word, "async") == 0)
            w->mode = ACK_ASYNC;
        else if (strcmp(*word, "all") == 0)
            w->mode = ACK_ALL;
        else if (strcmp(*word, "of") == 0 && word[1] != NULL)
            w->count = (unsigned)atoi(*++word);
    }
    world_form(w, voters);
}

static void command_prepare(struct world *w, char **words) {
    struct node *n = named(w, words[1]);
    struct log_report report;
    struct log_options options = {.fs = &n->disk->fs, .segment_size = 64 * 1024};
    if (log_open(&options, (struct version){0}, &n->log, &report) != LOG_OK)
        errx(1, "%s", report.detail);
    struct hard_state state = {0};
    for (char **word = words + 2; *word != NULL; word++) {
        struct entry entry = {.key = bytes_of("prepared"), .value = bytes_of(*word)};
        state.term = (uint64_t)atoi(*word + (**word == '@'));
        if (**word == '@')
            continue;
        if (log_append_entry(n->log, state.term, ENTRY_PUT, &entry) != LOG_OK)
            errx(1, "prepare");
    }
    log_write(n->log, 0, false);
    struct job *job = log_sync_begin(n->log, node_synced, n);
    if (job != NULL) {
        job->run(job);
        log_sync_end(n->log);
    }
    hard_state_save(&n->disk->fs, &state);
    log_close(n->log);
}

static void command_elect(struct world *w, char **words) {
    struct node *n = named(w, words[1]);
    for (unsigned i = 1; i <= w->count; i++) {
        struct node *other = &w->nodes[i];
        other->frozen = other != n && (other->raft == NULL || raft_role(other->raft) != RAFT_LEADER);
    }
    for (uint64_t end = w->now_ms + 3000; w->now_ms < end && raft_role(n->raft) != RAFT_LEADER;)
        world_step(w);
    for (unsigned i = 1; i <= w->count; i++)
        w->nodes[i].frozen = false;
}

static bool settled(struct world *w) {
    struct node *leader = world_leader(w);
    if (leader == NULL || raft_commit(leader->raft) < log_last(leader->log))
        return false;
    for (unsigned i = 1; i <= w->count; i++) {
        struct node *n = &w->nodes[i];
        if (n->raft != NULL && configuration_find(raft_configuration(leader->raft), &n->id) != NULL &&
            (raft_commit(n->raft) < log_last(leader->log) || log_durable(n->log) < log_last(leader->log)))
            return false;
    }
    return true;
}

static void command_settle(struct world *w) {
    uint64_t end = w->now_ms + 5000;
    while (w->now_ms < end && !settled(w))
        world_step(w);
    if (!settled(w))
        say(w, "not settled");
}

static const char *result_text(enum raft_result result) {
    static const char *const texts[] = {"ok", "not the leader", "transferring", "busy", "no space", "failed"};
    return texts[result];
}

static void command_set(struct world *w, char **words) {
    struct node *n = named(w, words[1]);
    char *value = strchr(words[2], '=');
    if (n == NULL || value == NULL) {
        say(w, "no leader");
        return;
    }
    *value++ = '\0';
    enum raft_result result = node_put(n, words[2], bytes_of(value));
    if (result != RAFT_OK)
        say(w, result_text(result));
}

static void command_fill(struct world *w, char **words) {
    static uint8_t value[1024];
    w->quiet = true;
    for (int i = atoi(words[2]); i > 0; i--) {
        struct node *n = named(w, words[1]);
        if (n != NULL)
            node_put(n, "fill", (struct bytes){value, sizeof value});
        world_step(w);
    }
    world_run(w, 10);
    w->quiet = false;
}

static void command_read(struct world *w, char **words) {
    struct node *n = named(w, words[1]);
    uint64_t sequence = n != NULL ? raft_read(n->raft, node_now(n)) : 0;
    if (sequence == 0) {
        say(w, "not the leader");
        return;
    }
    n->read = (struct world_read){sequence, raft_term(n->raft), w->committed_last};
    n->touched = true;
}

static void command_partition(struct world *w, char **words) {
    int part[WORLD_NODES + 1] = {0}, at = 1;
    for (char **word = words + 1; *word != NULL; word++)
        if (strcmp(*word, "|") == 0)
            at++;
        else
            part[atoi(*word)] = at;
    for (unsigned a = 1; a <= w->count; a++)
        for (unsigned b = 1; b <= w->count; b++)
            w->nodes[a].cut[b] = part[a] != part[b];
}

static void command_heal(struct world *w) {
    for (unsigned a = 1; a <= w->count; a++)
        memset(w->nodes[a].cut, 0, sizeof w->nodes[a].cut);
}

static void change_one(struct configuration *next, const char *what, const struct node *about) {
    const struct member *known = configuration_find_name(next, about->id.id);
    if (strcmp(what, "add") == 0 && known == NULL)
        configuration_add(next, &about->id, &(struct address){0}, &(struct address){0});
    else if (known != NULL && strcmp(what, "promote") == 0)
        next->members[known - next->members].role = MEMBER_VOTER;
    else if (known != NULL && strcmp(what, "demote") == 0)
        next->members[known - next->members].role = MEMBER_LEARNER;
    else if (known != NULL && strcmp(what, "remove") == 0)
        configuration_remove(next, &known->id);
}

static void command_change(struct world *w, char **words) {
    struct node *leader = world_leader(w);
    bool once = strcmp(words[0], "once") == 0;
    if (leader == NULL) {
        say(w, "no leader");
        return;
    }
    struct configuration next = *raft_configuration(leader->raft);
    for (char **word = words + once; word[0] != NULL && word[1] != NULL; word += 2)
        if (named(w, word[1]) != NULL)
            change_one(&next, word[0], named(w, word[1]));
    enum raft_result result = raft_propose_configuration(leader->raft, &next, once);
    leader->touched = true;
    if (result != RAFT_OK)
        say(w, result_text(result));
}

/* Terms of the log as runs: "1*4 5*2". */
static void show_log(struct node *n) {
    uint64_t term;
    for (uint64_t i = log_first(n->log); i <= log_last(n->log);) {
        uint64_t start = i, next = 0;
        log_term_at(n->log, i, &term);
        while (i <= log_last(n->log) && log_term_at(n->log, i, &next) && next == term)
            i++;
        fprintf(n->world->trace, " %" PRIu64 "*%" PRIu64, term, i - start);
    }
}

static void command_show(struct world *w) {
    for (unsigned i = 1; i <= w->count; i++) {
        struct node *n = &w->nodes[i];
        fprintf(w->trace, "    %u ", i);
        if (n->raft == NULL) {
            fprintf(w->trace, "down\n");
            continue;
        }
        fprintf(w->trace, "%s, term %" PRIu64 ", commit %" PRIu64 ", log from %" PRIu64 ":",
                role_text(raft_role(n->raft)), raft_term(n->raft), raft_commit(n->raft), log_first(n->log));
        show_log(n);
        fprintf(w->trace, "\n");
    }
}

static void command_node(struct world *w, char **words) {
    struct node *n = words[1] != NULL ? named(w, words[1]) : NULL;
    if (n == NULL)
        errx(1, "unknown command or node: %s", words[0]);
    if (strcmp(words[0], "crash") == 0)
        node_stop(n, true, false);
    else if (strcmp(words[0], "power") == 0)
        node_stop(n, false, true);
    else if (strcmp(words[0], "wipe") == 0)
        node_wipe(n);
    else if (strcmp(words[0], "restart") == 0)
        node_start(n);
    else if (strcmp(words[0], "snapshot") == 0)
        node_snapshot(n);
    else if (strcmp(words[0], "transfer") == 0 && world_leader(w) != NULL) {
        raft_transfer(world_leader(w)->raft, node_now(world_leader(w)), &n->id);
        world_leader(w)->touched = true;
    } else
        command_change(w, words);
}

static void command(struct world *w, char **words) {
    const char *name = words[0];
    if (strcmp(name, "nodes") == 0)
        command_nodes(w, words);
    else if (strcmp(name, "prepare") == 0)
        command_prepare(w, words);
    else if (strcmp(name, "start") == 0)
        for (unsigned i = 1; i <= w->count; i++)
            node_start(&w->nodes[i]);
    else if (strcmp(name, "run") == 0)
        world_run(w, (uint64_t)atoi(words[1]));
    else if (strcmp(name, "disk") == 0)
        w->sync_exact_ms = (uint64_t)atoi(words[1]);
    else if (strcmp(name, "elect") == 0)
        command_elect(w, words);
    else if (strcmp(name, "settle") == 0)
        command_settle(w);
    else if (strcmp(name, "set") == 0)
        command_set(w, words);
    else if (strcmp(name, "fill") == 0)
        command_fill(w, words);
    else if (strcmp(name, "read") == 0)
        command_read(w, words);
    else if (strcmp(name, "partition") == 0)
        command_partition(w, words);
    else if (strcmp(name, "drop") == 0)
        w->nodes[words[1][0] - '0'].cut[words[1][2] - '0'] = true;
    else if (strcmp(name, "heal") == 0)
        command_heal(w);
    else if (strcmp(name, "show") == 0)
        command_show(w);
    else if (strcmp(name, "once") == 0)
        command_change(w, words);
    else
        command_node(w, words);
}

static void run_line(struct world *w, char *line) {
    char *words[32] = {0}, *rest = line;
    size_t count = 0;
    for (char *word; count < 31 && (word = strsep(&rest, " ")) != NULL;)
        if (*word != '\0')
            words[count++] = word;
    if (count > 0)
        command(w, words);
}

/* Runs the script and gives it back with the trace it gave this time. */
static char *run_script(const char *script) {
    char *out = NULL, *copy = strdup(script), *rest = copy;
    size_t out_size;
    struct world *w = world_new(0, 1);
    w->trace = open_memstream(&out, &out_size);
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == ' ' || (rest == NULL && line[0] == '\0'))
            continue;
        fprintf(w->trace, "%s\n", line);
        if (line[0] != '#')
            run_line(w, line);
        if (w->breach[0] != '\0') {
            fprintf(w->trace, "    breach: %s\n", w->breach);
            w->breach[0] = '\0';
        }
    }
    world_check_logs(w);
    if (w->breach[0] != '\0')
        fprintf(w->trace, "    breach: %s\n", w->breach);
    fclose(w->trace);
    w->trace = NULL;
    world_free(w);
    free(copy);
    return out;
}

static char *read_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL)
        err(1, "%s", path);
    char *text = NULL;
    size_t size = 0;
    if (getdelim(&text, &size, '\0', file) < 0)
        errx(1, "%s: empty", path);
    fclose(file);
    return text;
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        err(1, "%s", path);
}

static void print_commented(const char *title, const char *text) {
    printf("# %s\n", title);
    for (const char *line = text; *line != '\0';) {
        int size = (int)strcspn(line, "\n");
        printf("#   %.*s\n", size, line);
        line += size + (line[size] == '\n');
    }
}

static bool check_script(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *expected = read_file(path), *got = run_script(expected);
    bool same = strcmp(expected, got) == 0, breach = strstr(got, "breach:") != NULL;
    if (!same && getenv("UPDATE_SCENARIOS") != NULL)
        write_file(path, got);
    else if (!same)
        print_commented("got", got);
    same = same || getenv("UPDATE_SCENARIOS") != NULL;
    free(expected);
    free(got);
    return same && !breach;
}

static int is_script(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".txt") == 0;
}

int main(void) {
    struct dirent **scripts;
    int count = scandir(folder, &scripts, is_script, alphasort), failed = 0;
    if (count < 0)
        err(1, "%s", folder);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("1..%d\n", count);
    for (int i = 0; i < count; i++) {
        bool ok = check_script(scripts[i]->d_name);
        failed += !ok;
        printf("%s %d - scenario %s\n", ok ? "ok" : "not ok", i + 1, scripts[i]->d_name);
        free(scripts[i]);
    }
    free(scripts);
    return failed != 0;
}
