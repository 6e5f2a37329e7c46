/* GET /metrics, beside what the HTTP server counts itself. */
#include <stdio.h>

#include "api/prometheus.h"
#include "cmd/node_internal.h"

static void print_about(const struct node *n, const char *version, struct buffer *out) {
    char labels[320] = "", id[NODE_ID_SIZE + 1], group[16];
    snprintf(group, sizeof group, "%u", n->self.group);
    prometheus_label(labels, sizeof labels, "version", version);
    prometheus_label(labels, sizeof labels, "node", node_id_text(n->self.id, id));
    prometheus_label(labels, sizeof labels, "group", group);
    prometheus_label(labels, sizeof labels, "cluster", n->self.cluster);
    prometheus_family(out, "kvnode_build_info", "gauge", "Who this is; the value is 1.");
    prometheus_sample(out, "kvnode_build_info", labels, 1);
}

/* Every word that /health has for a status, once; the node's own is 1. */
static void print_health(const struct node *n, uint64_t now_ms, struct buffer *out) {
    struct health_facts facts;
    node_health_facts(n, now_ms, &facts);
    const struct health_row *row = health_row(health_of(&facts));
    prometheus_gauge(out, "kvnode_ready", "1 when the node can serve, as GET /health?ready=1 says.",
                     row->ready);
    prometheus_family(out, "kvnode_health", "gauge",
                      "1 for the status that GET /health shows, 0 for the others.");
    for (unsigned i = 0; i < HEALTH_STATES; i++) {
        const char *status = health_row((enum health)i)->status;
        unsigned first = 0;
        char labels[64] = "";
        while (strcmp(health_row((enum health)first)->status, status) != 0)
            first++;
        if (first < i)
            continue;
        prometheus_label(labels, sizeof labels, "status", status);
        prometheus_sample(out, "kvnode_health", labels, strcmp(status, row->status) == 0);
    }
}

static void print_group(const struct node *n, uint64_t now_ms, struct buffer *out) {
    const struct raft *raft = replica_raft_view(n->replica);
    const struct configuration *configuration = raft_configuration(raft);
    uint64_t applied = replica_applied(n->replica), current_ms = replica_current_ms(n->replica);
    bool leads = raft_role(raft) == RAFT_LEADER;
    size_t voters = configuration_voters(configuration);
    struct member_id leader;
    print_health(n, now_ms, out);
    prometheus_gauge(out, "kvnode_is_leader", "1 on the leader of the group.", leads);
    prometheus_gauge(out, "kvnode_has_leader", "1 when the node knows a leader.",
                     coordinator_leader(n->coordinator, &leader));
    prometheus_gauge(out, "kvnode_degraded", "1 on an async leader that hears no majority.",
                     raft_alone(raft));
    prometheus_gauge(out, "kvnode_voters", "Voters of the group.", voters);
    prometheus_gauge(out, "kvnode_learners", "Learners of the group.", configuration->count - voters);
    prometheus_gauge(out, "kvnode_term", "The current term.", raft_term(raft));
    prometheus_gauge(out, "kvnode_log_last_index", "Last index of the log.",
                     log_last(replica_log(n->replica)));
    prometheus_gauge(out, "kvnode_log_durable_index", "Last index synced to the disk.",
                     log_durable(replica_log(n->replica)));
    prometheus_gauge(out, "kvnode_commit_index", "Last committed index.", raft_commit(raft));
    prometheus_gauge(out, "kvnode_applied_index", "Last index applied to the keys.", applied);
    uint64_t behind = leads ? 0 : raft_leader_commit(raft);
    prometheus_gauge(out, "kvnode_lag_entries",
                     "Entries that the leader has committed and this node has not applied.",
                     behind > applied ? behind - applied : 0);
    prometheus_family(out, "kvnode_staleness_seconds", "gauge",
                      "Since the keys were last known to be the leader's; NaN: never. 0 on the leader.");
    if (leads || current_ms > 0)
        prometheus_fraction(out, "kvnode_staleness_seconds", NULL,
                            leads || now_ms < current_ms ? 0 : (double)(now_ms - current_ms) / 1000);
    else
        buffer_append_text(out, "kvnode_staleness_seconds NaN\n");
}

/* Whose keys differ from the others'. */
static void print_comparison(const struct node *n, struct buffer *out) {
    const struct raft *raft = replica_raft_view(n->replica);
    const struct raft_comparison *comparison = raft_comparison(raft);
    const struct configuration *configuration = raft_configuration(raft);
    prometheus_counter(out, "kvnode_digest_compared_total",
                       "On the leader: comparisons of the replicas' digests in which a majority agreed.",
                       comparison->rounds);
    prometheus_gauge(out, "kvnode_digest_index", "Index of the last comparison that this node took part in.",
                     comparison->index);
    prometheus_gauge(out, "kvnode_diverged",
                     "1 while this node's keys differ from those that a majority agrees on.", raft_odd(raft));
    prometheus_gauge(out, "kvnode_unequal", "1 while the voters' keys differ and no majority of them agrees.",
                     raft_unequal(raft));
    prometheus_counter(out, "kvnode_memory_checks_total",
                       "Passes over the records in memory, against the digest kept of what was written.",
                       replica_check(n->replica)->passes);
    prometheus_counter(out, "kvnode_memory_failures_total", "Of them, those that found another digest.",
                       replica_check(n->replica)->wrong);
    prometheus_family(out, "kvnode_diverged_members", "gauge",
                      "On the leader: 1 for a member whose keys differ and are being replaced.");
    for (size_t i = 0; i < configuration->count && raft_role(raft) == RAFT_LEADER; i++) {
        const struct member *member = &configuration->members[i];
        char labels[64] = "", id[NODE_ID_SIZE + 1];
        if (member_id_equal(&member->id, &n->self_id))
            continue;
        prometheus_label(labels, sizeof labels, "node", node_id_text(member->id.id, id));
        prometheus_sample(out, "kvnode_diverged_members", labels, raft_member_odd(raft, &member->id));
    }
}

/* The leader's: how far each other member is behind the end of its log. */
static void print_followers(const struct node *n, struct buffer *out) {
    const struct raft *raft = replica_raft_view(n->replica);
    const struct configuration *configuration = raft_configuration(raft);
    uint64_t last = log_last(replica_log(n->replica));
    prometheus_family(out, "kvnode_follower_lag_entries", "gauge",
                      "On the leader: entries that a member has not acknowledged.");
    for (size_t i = 0; i < configuration->count && raft_role(raft) == RAFT_LEADER; i++) {
        const struct member *member = &configuration->members[i];
        char labels[96] = "", id[NODE_ID_SIZE + 1];
        if (member_id_equal(&member->id, &n->self_id))
            continue;
        uint64_t match = raft_match(raft, &member->id);
        prometheus_label(labels, sizeof labels, "node", node_id_text(member->id.id, id));
        prometheus_label(labels, sizeof labels, "role", member_votes(member) ? "voter" : "learner");
        prometheus_sample(out, "kvnode_follower_lag_entries", labels, last > match ? last - match : 0);
    }
}

static void print_causes(const uint64_t counts[RAFT_CAUSES], const char *name, struct buffer *out) {
    static const char *const causes[RAFT_CAUSES] = {
        [RAFT_CAUSE_NONE] = "other",
        [RAFT_CAUSE_FOUNDED] = "founded",
        [RAFT_CAUSE_TIMEOUT] = "timeout",
        [RAFT_CAUSE_LINK] = "leader_gone",
        [RAFT_CAUSE_TRANSFER] = "transfer",
        [RAFT_CAUSE_HIGHER_TERM] = "higher_term",
        [RAFT_CAUSE_NO_MAJORITY] = "no_majority",
        [RAFT_CAUSE_REMOVED] = "removed",
        [RAFT_CAUSE_ALONE] = "only_voter",
    };
    for (unsigned i = 0; i < RAFT_CAUSES; i++) {
        char labels[64] = "";
        if (causes[i] == NULL || (i == RAFT_CAUSE_NONE && counts[i] == 0))
            continue;
        prometheus_label(labels, sizeof labels, "cause", causes[i]);
        prometheus_sample(out, name, labels, counts[i]);
    }
}

static void print_elections(const struct node *n, struct buffer *out) {
    const struct raft_counters *counters = raft_counters(replica_raft_view(n->replica));
    prometheus_family(out, "kvnode_elections_total", "counter", "Elections that this node began, by cause.");
    print_causes(counters->elections, "kvnode_elections_total", out);
    prometheus_counter(out, "kvnode_leaderships_total", "Times that this node became the leader.",
                       counters->won);
    prometheus_family(out, "kvnode_leaderships_lost_total", "counter",
                      "Times that this node stopped leading, by cause.");
    print_causes(counters->lost, "kvnode_leaderships_lost_total", out);
}

static void print_log(const struct node *n, const struct node_measures *m, struct buffer *out) {
    const struct log *log = replica_log(n->replica);
    prometheus_counter(out, "kvnode_log_records_written_total", "Records written to the log.",
                       log_counters(log)->records);
    prometheus_gauge(out, "kvnode_log_size_bytes", "Bytes of records that the log holds.", log_size(log));
    prometheus_family(out, "kvnode_log_batch_records", "histogram",
                      "Records of each batch written to the log.");
    prometheus_sizes(out, "kvnode_log_batch_records", NULL, &log_counters(log)->batch_records);
    prometheus_family(out, "kvnode_log_sync_duration_seconds", "histogram", "Syncs of the log to the disk.");
    prometheus_times(out, "kvnode_log_sync_duration_seconds", NULL, &m->log_syncs);
    prometheus_family(out, "kvnode_bulk_job_duration_seconds", "histogram",
                      "Syncs of snapshots, and reads of the scrub.");
    prometheus_times(out, "kvnode_bulk_job_duration_seconds", NULL, &m->bulk_jobs);
    prometheus_family(
        out, "kvnode_turn_duration_seconds", "histogram",
        "Turns of the loop: from the end of what was read to the answers sent, log write included.");
    prometheus_times(out, "kvnode_turn_duration_seconds", NULL, &m->turns);
}

/* What reading the own files has shown. */
static void print_damage(const struct node *n, struct buffer *out) {
    const struct replica_damage *damage = replica_damage(n->replica);
    prometheus_counter(out, "kvnode_damaged_files_total",
                       "Files of the data directory that were found damaged while the node ran.",
                       damage->found);
    prometheus_counter(out, "kvnode_mended_files_total",
                       "Of them, those whose place a new snapshot has taken, or that were written again.",
                       damage->mended);
    prometheus_counter(out, "kvnode_scrub_passes_total",
                       "Passes over the files of the data directory, to find what rots.", damage->passes);
    prometheus_counter(out, "kvnode_scrub_read_bytes_total", "Bytes read by them.", damage->bytes);
}

static void print_store(const struct node *n, struct buffer *out) {
    const struct ledger *ledger = replica_ledger(n->replica);
    size_t overruled = 0, rows = ledger_count(ledger);
    for (size_t i = 0; i < rows; i++)
        overruled += ledger_at(ledger, i)->state == LEDGER_OVERRULED;
    prometheus_gauge(out, "kvnode_keys", "Live keys.", store_count(replica_store(n->replica)));
    prometheus_gauge(out, "kvnode_store_memory_bytes",
                     "Memory of keys, values, their index and the undo list.",
                     store_memory(replica_store(n->replica)));
    prometheus_family(out, "kvnode_rejected_writes", "gauge",
                      "Rows of this node's ledger of rejected writes, by state.");
    prometheus_sample(out, "kvnode_rejected_writes", "state=\"overruled\"", overruled);
    prometheus_sample(out, "kvnode_rejected_writes", "state=\"rejected\"", rows - overruled);
    prometheus_gauge(out, "kvnode_rejected_writes_bytes",
                     "Bytes of the file with the ledger of rejected writes; no row is taken past 1 GiB.",
                     ledger_size(ledger));
    prometheus_gauge(out, "kvnode_requests_under_way",
                     "Requests that wait for the log, the leader or a majority.",
                     coordinator_pending(n->coordinator));
}

static void print_discovery(const struct node *n, struct buffer *out) {
    const struct discovery_counters c = discovery_counters(n->discovery);
    const struct {
        const char *reason;
        uint64_t count;
    } dropped[] = {{"reason=\"garbage\"", c.garbage}, {"reason=\"oversized\"", c.oversized},
                   {"reason=\"version\"", c.version}, {"reason=\"corrupt\"", c.corrupt},
                   {"reason=\"foreign\"", c.foreign}, {"reason=\"own\"", c.own}};
    prometheus_counter(out, "kvnode_discovery_sent_total", "Announcements sent.", c.sent);
    prometheus_counter(out, "kvnode_discovery_received_total", "Datagrams received.", c.received);
    prometheus_family(
        out, "kvnode_discovery_dropped_total", "counter",
        "Datagrams dropped; foreign ones are of another cluster name, own ones were sent by this node.");
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++)
        prometheus_sample(out, "kvnode_discovery_dropped_total", dropped[i].reason, dropped[i].count);
    const struct membership *membership = discovery_membership(n->discovery);
    size_t alive = 0, count = membership_count(membership);
    for (size_t i = 0; i < count; i++)
        alive += membership_at(membership, i)->state == MEMBERSHIP_ALIVE;
    prometheus_family(out, "kvnode_nodes", "gauge", "Other nodes of the cluster heard of, by state.");
    prometheus_sample(out, "kvnode_nodes", "state=\"alive\"", alive);
    prometheus_sample(out, "kvnode_nodes", "state=\"suspect\"", count - alive);
}

static void print_connections(const struct node *n, const struct node_measures *m, struct buffer *out) {
    prometheus_family(out, "kvnode_connections", "gauge", "Connections that stand, by kind.");
    prometheus_sample(out, "kvnode_connections", "kind=\"client\"", api_clients(n->api));
    prometheus_sample(out, "kvnode_connections", "kind=\"peer\"", peers_count(n->peers));
    prometheus_counter(out, "kvnode_peer_connections_refused_total",
                       "Connections of nodes turned away because descriptors had run out.",
                       m->peers_turned_away);
}

static void print_process(const struct node_measures *m, struct buffer *out) {
    prometheus_gauge(out, "process_resident_memory_bytes", "Resident memory.", m->resident_bytes);
    prometheus_gauge(out, "process_open_fds", "Open file descriptors.", m->descriptors);
    prometheus_gauge(out, "process_max_fds", "Most file descriptors that may be open.", m->descriptors_max);
    prometheus_family(out, "process_cpu_seconds_total", "counter", "Time on the processor, of all threads.");
    prometheus_fraction(out, "process_cpu_seconds_total", NULL, m->cpu_seconds);
    prometheus_family(out, "process_start_time_seconds", "gauge", "Start of the process, in Unix time.");
    char text[64];
    snprintf(text, sizeof text, "process_start_time_seconds %.3f\n", m->started_s);
    buffer_append_text(out, text);
}

void node_metrics(struct node *n, uint64_t now_ms, struct buffer *out) {
    struct node_measures measures = {.version = ""};
    if (n->host.measures != NULL)
        n->host.measures(n->host.arg, &measures);
    print_about(n, measures.version, out);
    print_group(n, now_ms, out);
    print_followers(n, out);
    print_comparison(n, out);
    print_elections(n, out);
    print_log(n, &measures, out);
    print_damage(n, out);
    print_store(n, out);
    print_discovery(n, out);
    print_connections(n, &measures, out);
    print_process(&measures, out);
}
