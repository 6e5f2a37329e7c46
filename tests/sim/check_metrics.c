/* What a node says in /metrics, by what the simulator knows of it:
 *
 *  - each series once, each counter and each bucket no less than when the process was asked before, a
 * histogram's buckets rising to its count;
 *  - what the node is at: term, role, members, log, commit, keys, by what was noted of it and of its group;
 *  - what happened to it: leaderships won, requests answered, and no damage where nothing was damaged. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cmd/node_internal.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/flip.h"

#define FNV_BASIS 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

/* ---- the text ---- */

static uint64_t hash_of(const char *text, size_t size) {
    uint64_t hash = FNV_BASIS;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)text[i]) * FNV_PRIME;
    return hash | 1;
}

/* The place of the series, or where it would be. */
static struct series *series_of(const struct told *told, uint64_t name) {
    size_t at = name & (SERIES_MAX - 1);
    while (told->series[at].name != 0 && told->series[at].name != name)
        at = (at + 1) & (SERIES_MAX - 1);
    return &told->series[at];
}

static double number_of(const char *text) {
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return *at == '\n' ? (double)value : strtod(text, NULL);
}

static bool ends_with(const char *name, size_t size, const char *end) {
    return size >= strlen(end) && memcmp(name + size - strlen(end), end, strlen(end)) == 0;
}

struct reading {
    struct machine *m;
    struct told *told;
    bool counts;    /* the family is a counter or a histogram */
    double bucket;  /* the last one of a histogram */
    bool in_bucket; /* since then there was no count */
};

/* The buckets of one histogram, and its count, stand one behind the other. */
static void read_histogram(struct reading *r, const char *line, size_t size, double value) {
    const char *labels = memchr(line, '{', size);
    size_t name_size = labels != NULL ? (size_t)(labels - line) : size;
    bool bucket = ends_with(line, name_size, "_bucket"), count = ends_with(line, name_size, "_count");
    if ((bucket && r->in_bucket && value < r->bucket) || (count && r->in_bucket && value != r->bucket))
        sim_violated(r->m->sim, "node %u tells a histogram whose buckets do not rise to its count: %.*s",
                     r->m->index + 1, (int)size, line);
    if (bucket || count) {
        r->in_bucket = bucket;
        r->bucket = value;
    }
}

static void read_sample(struct reading *r, const char *line, size_t size) {
    struct told *told = r->told;
    struct series *series = series_of(told, hash_of(line, size));
    double value = number_of(line + size + 1);
    if (series->name == 0)
        told->count++;
    else if (series->round == told->round)
        sim_violated(r->m->sim, "node %u tells %.*s twice", r->m->index + 1, (int)size, line);
    else if (r->counts && value < series->value)
        sim_violated(r->m->sim, "node %u tells %.*s as %.0f, and told %.0f before", r->m->index + 1,
                     (int)size, line, value, series->value);
    if (r->counts)
        read_histogram(r, line, size, value);
    *series = (struct series){hash_of(line, size), told->round, value};
}

static void read_line(struct reading *r, const char *line, size_t size) {
    if (line[0] == '#') {
        if (strncmp(line, "# TYPE", 6) == 0)
            r->counts = ends_with(line, size, " counter") || ends_with(line, size, " histogram");
        return;
    }
    const char *space = memrchr(line, ' ', size);
    if (space == NULL || r->told->count >= SERIES_MAX / 2)
        sim_violated(r->m->sim, "node %u tells a metric that is none: %.*s", r->m->index + 1, (int)size,
                     line);
    else
        read_sample(r, line, (size_t)(space - line));
}

static void read_all(struct machine *m, struct told *told, const char *text) {
    struct reading reading = {.m = m, .told = told};
    for (const char *end; (end = strchr(text, '\n')) != NULL && m->sim->violation[0] == '\0'; text = end + 1)
        read_line(&reading, text, (size_t)(end - text));
}

/* ---- values ---- */

struct answer {
    struct machine *m;
    const struct told *told;
    const char *text;
};

/* NaN where it was not told. */
static double value_of(const struct answer *a, const char *name) {
    const struct series *series = series_of(a->told, hash_of(name, strlen(name)));
    return series->name != 0 && series->round == a->told->round ? series->value : (double)NAN;
}

/* Of all series of a family. */
static double sum_of(const struct answer *a, const char *family, unsigned *count) {
    char prefix[80];
    double sum = 0;
    snprintf(prefix, sizeof prefix, "\n%s{", family);
    *count = 0;
    for (const char *at = strstr(a->text, prefix); at != NULL && strncmp(at, prefix, strlen(prefix)) == 0;
         at = strchr(at + 1, '\n')) {
        const char *value = strstr(at, "} ");
        sum += value != NULL ? number_of(value + 2) : 0;
        ++*count;
    }
    return sum;
}

static void is(const struct answer *a, const char *name, double want) {
    double value = value_of(a, name);
    if (value != want)
        sim_violated(a->m->sim, "node %u tells %s as %.9g, and it is %.9g", a->m->index + 1, name, value,
                     want);
}

static void is_between(const struct answer *a, const char *name, double value, double least, double most) {
    if (!(value >= least && value <= most))
        sim_violated(a->m->sim, "node %u tells %s as %.9g, and it is from %.9g to %.9g", a->m->index + 1,
                     name, value, least, most);
}

/* ---- what it is ---- */

static void check_status(const struct answer *a) {
    struct machine *m = a->m;
    struct health_view view;
    char name[80];
    unsigned count;
    node_health(m->node, machine_ms(m), &view);
    is(a, "kvnode_ready", view.ready);
    snprintf(name, sizeof name, "kvnode_health{status=\"%s\"}", view.status);
    is(a, name, 1);
    is_between(a, "kvnode_health, all", sum_of(a, "kvnode_health", &count), 1, 1);
}

static void check_role(const struct answer *a, const struct raft *raft) {
    struct machine *m = a->m;
    const struct check *c = m->sim->check;
    const struct group_log *group = &c->groups[m->group];
    uint64_t term = m->checked_term;
    const struct leader *leader = term < group->leader_count ? &group->leaders[term] : NULL;
    bool leads = value_of(a, "kvnode_is_leader") == 1, known = leader != NULL && leader->machine != 0;
    is(a, "kvnode_term", (double)term);
    is(a, "kvnode_is_leader", raft_role(raft) == RAFT_LEADER);
    if (leads && (!known || leader->machine != m->index + 1))
        sim_violated(m->sim, "node %u tells that it leads in term %" PRIu64 ", and it does not", m->index + 1,
                     term);
    known = known || (leader != NULL && leader->fleeting != 0);
    if (value_of(a, "kvnode_has_leader") == 1 && !known && !check_may_be_fooled(m->sim))
        sim_violated(m->sim, "node %u tells that it has a leader in term %" PRIu64 ", and nobody leads",
                     m->index + 1, term);
    const struct leader *standing = check_standing(c, m->group);
    bool asked = standing != NULL && node_self(m->node)->role != NODE_REMOVED &&
                 node_self(m->node)->role != NODE_NEWCOMER && !check_may_be_fooled(m->sim);
    if (!asked)
        return;
    sim_count(m->sim, TALLY_LEADER_TOLD);
    is(a, "kvnode_has_leader", 1);
    is(a, "kvnode_term", (double)standing->term);
}

/* Only an async leader that reaches no majority is. */
static void check_degraded(const struct answer *a) {
    bool may = value_of(a, "kvnode_is_leader") == 1 && a->m->sim->options.ack == ACK_ASYNC;
    is_between(a, "kvnode_degraded", value_of(a, "kvnode_degraded"), 0, may && !check_has_majority(a->m));
}

static void check_members_told(const struct answer *a, const struct raft *raft) {
    const struct group_log *group = &a->m->sim->check->groups[a->m->group];
    const struct configuration *members = check_members_at(group, raft_configuration_index(raft));
    unsigned count;
    double lag = sum_of(a, "kvnode_follower_lag_entries", &count);
    is_between(a, "kvnode_follower_lag_entries, all", lag, 0,
               (double)(count * log_last(replica_log(node_replica(a->m->node)))));
    if (members == NULL)
        members = raft_configuration(raft);
    size_t voters = configuration_voters(members);
    is(a, "kvnode_voters", (double)voters);
    is(a, "kvnode_learners", (double)(members->count - voters));
    size_t others = raft_role(raft) == RAFT_LEADER ? members->count - 1 : 0;
    is_between(a, "kvnode_follower_lag_entries, members", count, (double)others, (double)others);
}

/* ---- its log and its keys ---- */

static void check_log_told(const struct answer *a) {
    struct machine *m = a->m;
    const struct log *log = replica_log(node_replica(m->node));
    is(a, "kvnode_log_last_index", (double)log_last(log));
    is(a, "kvnode_log_durable_index", (double)log_durable(log));
    is(a, "kvnode_commit_index", (double)m->checked_commit);
    is(a, "kvnode_applied_index", (double)m->checked_applied);
    is_between(a, "kvnode_log_size_bytes", value_of(a, "kvnode_log_size_bytes"), 0,
               (double)sim_disk_used(m->disk));
}

/* Behind the leader by no more than what the group has committed; and as old as it says, or younger. */
static void check_lag(const struct answer *a) {
    struct machine *m = a->m;
    const struct group_log *group = &m->sim->check->groups[m->group];
    uint64_t applied = m->checked_applied;
    if (check_may_be_fooled(m->sim))
        return;
    double most = applied < group->count ? (double)(group->count - applied) : 0;
    is_between(a, "kvnode_lag_entries", value_of(a, "kvnode_lag_entries"), 0, most);
    double staleness = value_of(a, "kvnode_staleness_seconds");
    bool leads = value_of(a, "kvnode_is_leader") == 1;
    if (leads)
        is(a, "kvnode_staleness_seconds", 0);
    if (leads || isnan(staleness) || applied >= group->count)
        return;
    double behind = (double)(m->sim->now_us - group->entries[applied].at_us) / 1e6;
    if (behind > staleness * 1.02 + 0.005)
        sim_violated(m->sim, "node %u tells that its keys are %.3f s old, and lacks what is %.3f s old",
                     m->index + 1, staleness, behind);
    sim_count(m->sim, TALLY_STALENESS_TOLD);
}

static void check_keys_told(const struct answer *a) {
    struct machine *m = a->m;
    const struct group_log *group = &m->sim->check->groups[m->group];
    uint64_t applied = m->checked_applied;
    const struct ledger *ledger = replica_ledger(node_replica(m->node));
    unsigned count;
    double rows = sum_of(a, "kvnode_rejected_writes", &count);
    is_between(a, "kvnode_rejected_writes", rows, (double)ledger_count(ledger), (double)ledger_count(ledger));
    is_between(a, "kvnode_rejected_writes_bytes", value_of(a, "kvnode_rejected_writes_bytes"), 0,
               (double)sim_disk_size(m->disk, LEDGER_FILE));
    if (applied == 0 || applied > m->checked_commit || applied > group->count || is_flipped(m) ||
        group->others_keys)
        return;
    is(a, "kvnode_keys", group->entries[applied - 1].keys);
    sim_count(m->sim, TALLY_KEYS_TOLD);
}

/* ---- what happened to it ---- */

static void check_counts(const struct answer *a, const struct raft *raft) {
    struct machine *m = a->m;
    unsigned count;
    double won = value_of(a, "kvnode_leaderships_total");
    double lost = sum_of(a, "kvnode_leaderships_lost_total", &count);
    double leads = raft_role(raft) == RAFT_LEADER;
    is_between(a, "kvnode_leaderships_total", won, (double)m->sim->check->told[m->index].leaderships,
               lost + leads);
    is_between(a, "kvnode_leaderships_lost_total", lost, won - leads, won - leads);
    double requests = sum_of(a, "kvnode_http_requests_total", &count);
    is_between(a, "kvnode_http_requests_total", requests, (double)m->answered, (double)m->asked);
    const struct client *client;
    size_t clients = 1; /* that asks this */
    TAILQ_FOREACH(client, &m->clients, next)
    clients += client->connection != NULL;
    is(a, "kvnode_connections{kind=\"client\"}", (double)clients);
}

/* What is damaged nowhere is not found damaged, and keys do not differ where no memory failed. */
static void check_damage_told(const struct answer *a) {
    struct machine *m = a->m;
    bool hurt = sim_disk_is_hurt(m->disk) || m->may_fail,
         flips = m->sim->tally.counts[TALLY_STATE_FLIPPED] > 0;
    double found = value_of(a, "kvnode_damaged_files_total");
    is_between(a, "kvnode_damaged_files_total", found, 0, hurt ? INFINITY : 0);
    is_between(a, "kvnode_mended_files_total", value_of(a, "kvnode_mended_files_total"), 0, found);
    if (found > 0)
        sim_count(m->sim, TALLY_DAMAGE_TOLD);
    if (!flips)
        is(a, "kvnode_memory_failures_total", 0);
    if (flips || check_may_be_fooled(m->sim))
        return;
    unsigned count;
    is(a, "kvnode_diverged", 0);
    is(a, "kvnode_unequal", 0);
    is_between(a, "kvnode_diverged_members", sum_of(a, "kvnode_diverged_members", &count), 0, 0);
    double others = m->sim->options.machines - 1;
    is_between(a, "kvnode_nodes", sum_of(a, "kvnode_nodes", &count), 0, others);
    is_between(a, "kvnode_connections{kind=\"peer\"}", value_of(a, "kvnode_connections{kind=\"peer\"}"), 0,
               others);
}

static void check_who(const struct answer *a) {
    char line[240];
    struct machine *m = a->m;
    snprintf(line, sizeof line,
             "\nkvnode_build_info{version=\"\",node=\"%.*s\",group=\"%u\",cluster=\"kvnode\"} 1\n",
             NODE_ID_SIZE, (const char *)m->id, m->group);
    if (strstr(a->text, line) == NULL)
        sim_violated(m->sim, "node %u tells of another who it is", m->index + 1);
}

static void check_all(const struct answer *a) {
    const struct raft *raft = replica_raft_view(node_replica(a->m->node));
    check_who(a);
    check_status(a);
    check_role(a, raft);
    check_degraded(a);
    check_members_told(a, raft);
    check_log_told(a);
    check_lag(a);
    check_keys_told(a);
    check_counts(a, raft);
    check_damage_told(a);
    sim_count(a->m->sim, TALLY_METRICS_ASKED);
}

static void begin(struct told *told, uint64_t epoch) {
    if (told->series == NULL || told->epoch != epoch) {
        free(told->series);
        told->series = NULL;
        size_t none = 0;
        told->series = check_grow(told->series, &none, SERIES_MAX, sizeof *told->series);
        told->count = 0;
        told->epoch = epoch;
    }
    told->round++;
}

void check_metrics(struct machine *m) {
    struct told *told = &m->sim->check->told[m->index];
    struct buffer body = {0};
    if (!check_ask(m, "/metrics", &body)) {
        sim_violated(m->sim, "node %u did not answer /metrics", m->index + 1);
    } else {
        struct answer answer = {m, told, (const char *)body.data + body.start};
        begin(told, m->epoch);
        read_all(m, told, answer.text);
        if (m->sim->violation[0] == '\0')
            check_all(&answer);
    }
    buffer_release(&body);
}
