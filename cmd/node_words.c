/* What a node's log says: who it is, what it waits for, who came and went, who leads and why. */
#include <stdarg.h>
#include <stdio.h>

#include "cmd/node_internal.h"

#define TWO_VOTERS_MS 2000 /* a group that has two voters for so long is said to */
#define MISSING_MS    2000 /* likewise one that has too few to elect a leader */
#define SERVING_MS    500  /* a node that is ready for so long has started */
#define MINUTE_MS     60000ull
#define DAY_MS        (24 * 60 * MINUTE_MS)
#define DAYS_MAX      2932896 /* from 1970 to the year 9999 */
#define LOOK_MS       50      /* between looks at the node's health */

void node_log(struct node *n, enum node_level level, const char *event, const char *format, ...) {
    char text[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    n->host.log(n->host.arg, level, event, text);
}

const char *node_id_text(const uint8_t id[NODE_ID_SIZE], char out[NODE_ID_SIZE + 1]) {
    memcpy(out, id, NODE_ID_SIZE);
    out[NODE_ID_SIZE] = '\0';
    return out;
}

/* What an answered write can be lost to, in one sentence. */
static const char *loss(enum ack_mode mode, enum replica_sync sync, bool memory) {
    if (memory)
        return mode == ACK_ASYNC
                   ? "nothing is on disk: an answered write is lost when this node ends before "
                     "another has it"
                   : "nothing is on disk: an answered write survives while a majority keeps running";
    if (sync != SYNC_ALWAYS)
        return "a power cut may lose the answered writes that were not synced yet; a crash of the process "
               "alone "
               "loses nothing";
    if (mode == ACK_ASYNC)
        return "an answered write survives any crash of the leader; it is lost only if the leader's disk "
               "dies, "
               "or a failover comes before a majority had it, and then it is kept in the ledger of rejected "
               "writes";
    return "an answered write survives the loss of any minority, disks included";
}

static const char *mode_text(enum ack_mode mode) {
    static const char *const names[] = {[ACK_ASYNC] = "async", [ACK_QUORUM] = "quorum", [ACK_ALL] = "all"};
    return names[mode];
}

static void say_promise(struct node *n, enum ack_mode mode) {
    n->said_promise = true;
    n->said_ack = mode;
    node_log(n, NODE_INFO, "promise", "-ack %s: %s", mode_text(mode),
             loss(mode, n->options.sync, n->options.memory));
}

void node_say_start(struct node *n) {
    char id[NODE_ID_SIZE + 1], peer[ADDRESS_TEXT_MAX], api[ADDRESS_TEXT_MAX];
    const struct configuration *configuration = raft_configuration(replica_raft_view(n->replica));
    node_log(n, NODE_INFO, "start", "node %s of group %u: peers %s, http://%s, %llu keys",
             node_id_text(n->self.id, id), n->self.group, address_text(&n->self.peer, peer),
             address_text(&n->self.api, api), (unsigned long long)store_count(replica_store(n->replica)));
    if (configuration->count > 0)
        say_promise(n, configuration->mode);
    else if (n->options.leader)
        say_promise(n, n->options.ack);
    else
        node_log(n, NODE_INFO, "promise",
                 "what an answered write survives is the group's to say: this line comes again with its -ack "
                 "mode");
}

static void say_waiting(struct node *n) {
    const struct raft *raft = replica_raft_view(n->replica);
    if (n->said_waiting || n->bootstrap.wanted || raft_configuration(raft)->count > 0 ||
        n->now_ms - n->started_ms < DISCOVERY_LISTEN_MS)
        return;
    n->said_waiting = true;
    node_log(n, NODE_NOTICE, "waiting",
             "waits for a member of group %u; if the group is new, start one of its nodes with -leader",
             n->self.group);
}

static const char *cause_text(enum raft_cause cause) {
    static const char *const texts[] = {
        [RAFT_CAUSE_NONE] = "",
        [RAFT_CAUSE_FOUNDED] = ": it founded the group",
        [RAFT_CAUSE_TIMEOUT] = ": no word from the leader for an election timeout",
        [RAFT_CAUSE_LINK] = ": the leader's process is gone",
        [RAFT_CAUSE_TRANSFER] = ": the leader handed over",
        [RAFT_CAUSE_HIGHER_TERM] = ": a higher term was seen",
        [RAFT_CAUSE_NO_MAJORITY] = ": no majority of the voters was heard",
        [RAFT_CAUSE_REMOVED] = ": it was removed from the group",
        [RAFT_CAUSE_ALONE] = ": it is the only voter",
    };
    return (size_t)cause < sizeof texts / sizeof texts[0] ? texts[cause] : "";
}

static void say_leader(struct node *n) {
    const struct raft *raft = replica_raft_view(n->replica);
    struct member_id leader = {0};
    enum raft_role role = raft_role(raft);
    uint64_t term = raft_term(raft);
    char id[NODE_ID_SIZE + 1];
    bool known = raft_leader(raft, &leader);
    if (role == RAFT_LEADER && (n->seen_role != RAFT_LEADER || n->seen_term != term))
        node_log(n, NODE_NOTICE, "leads", "leads group %u in term %llu%s", n->self.group,
                 (unsigned long long)term, cause_text(raft_cause(raft)));
    else if (role != RAFT_LEADER && n->seen_role == RAFT_LEADER)
        node_log(n, NODE_NOTICE, "steps_down", "no longer leads group %u%s", n->self.group,
                 cause_text(raft_cause(raft)));
    if (role == RAFT_CANDIDATE && n->seen_role == RAFT_FOLLOWER)
        node_log(n, NODE_INFO, "election", "asks for votes in group %u%s", n->self.group,
                 cause_text(raft_cause(raft)));
    if (known && role != RAFT_LEADER && !member_id_equal(&leader, &n->seen_leader))
        node_log(n, NODE_INFO, "follows", "follows node %s in term %llu", node_id_text(leader.id, id),
                 (unsigned long long)term);
    n->seen_role = role;
    n->seen_term = term;
    n->seen_leader = leader;
}

/* What the founder chose holds; other nodes' flags are compared once. */
static void say_differences(struct node *n, const struct configuration *configuration) {
    if (n->options.ack_given && configuration->mode != n->options.ack)
        node_log(n, NODE_WARNING, "ack_differs",
                 "-ack %s has no effect: the group was founded with -ack %s, and that holds",
                 mode_text(n->options.ack), mode_text(configuration->mode));
    if (n->options.voters_given && configuration->voters_max != n->options.voters_max)
        node_log(n, NODE_WARNING, "voters_differ",
                 "-voters %u has no effect: the group was founded with -voters %u, and that holds",
                 n->options.voters_max, configuration->voters_max);
}

static void say_configuration(struct node *n) {
    const struct raft *raft = replica_raft_view(n->replica);
    const struct configuration *configuration = raft_configuration(raft);
    uint64_t index = raft_configuration_index(raft);
    if (index == n->seen_configuration || configuration->count == 0)
        return;
    if (n->seen_configuration == 0)
        say_differences(n, configuration);
    if (!n->said_promise || n->said_ack != configuration->mode)
        say_promise(n, configuration->mode);
    n->seen_configuration = index;
    size_t voters = configuration_voters(configuration);
    node_log(n, NODE_INFO, "members", "group %u: %zu voting, %zu learning", n->self.group, voters,
             configuration->count - voters);
    n->two_voters_ms = voters == 2 ? n->now_ms + TWO_VOTERS_MS : 0;
}

/* A group that grows to three passes through two. */
static void say_two_voters(struct node *n) {
    if (n->two_voters_ms == 0 || n->now_ms < n->two_voters_ms)
        return;
    n->two_voters_ms = 0;
    node_log(n, NODE_NOTICE, "two_voters",
             "two voters keep two copies but one alone cannot elect a leader: a third makes failover work");
}

/* Writes are refused with 507, reads go on. Once for a disk that stays full, however many are. */
static void say_disk(struct node *n) {
    bool full = coordinator_disk_full(n->coordinator);
    bool leads = raft_role(replica_raft_view(n->replica)) == RAFT_LEADER;
    const char *directory = n->options.directory != NULL ? n->options.directory : "the data directory";
    if (full && !n->seen_full)
        node_log(
            n, NODE_WARNING, "disk_full",
            "the disk of '%s' is full: this leader refuses writes with 507; free space there, and it takes "
            "writes again by itself",
            directory);
    else if (!full && n->seen_full && leads)
        node_log(n, NODE_NOTICE, "disk_has_room", "the disk of '%s' has room again: writes are taken",
                 directory);
    n->seen_full = full;
}

/* Once too few voters have answered for a while, and whenever their number changes then. A whole group that
 * is started passes through it. */
static void say_missing(struct node *n, enum health state) {
    char text[1024] = "";
    if (state != HEALTH_NO_MAJORITY) {
        n->leaderless_ms = n->said_missing = 0;
        return;
    }
    if (n->leaderless_ms == 0)
        n->leaderless_ms = n->now_ms;
    size_t missing = node_list_members(n, true, "; missing: ", text, sizeof text);
    if (n->now_ms - n->leaderless_ms < MISSING_MS || missing == n->said_missing)
        return;
    n->said_missing = missing;
    node_log(n, NODE_WARNING, "no_majority", "group %u has no leader: too few of its %zu voters answer%s. %s",
             n->self.group, configuration_voters(raft_configuration(replica_raft_view(n->replica))), text,
             health_row(state)->fix);
}

static bool is_leap(unsigned year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* "2026-11-21 14:00 UTC"; empty past the year 9999. */
static void date_text(uint64_t unix_ms, char *out, size_t size) {
    static const unsigned char month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t days = unix_ms / DAY_MS, minutes = unix_ms / MINUTE_MS % (24 * 60);
    unsigned year = 1970, month = 0;
    out[0] = '\0';
    if (days > DAYS_MAX)
        return;
    for (; days >= 365u + is_leap(year); year++)
        days -= 365u + is_leap(year);
    for (; days >= month_days[month] + (month == 1 && is_leap(year) ? 1u : 0u); month++)
        days -= month_days[month] + (month == 1 && is_leap(year) ? 1u : 0u);
    snprintf(out, size, "%04u-%02u-%02u %02u:%02u UTC", year, month + 1, (unsigned)days + 1,
             (unsigned)(minutes / 60), (unsigned)(minutes % 60));
}

/* "2026-11-21 14:00 UTC, 3 days ago" */
static void founding_text(uint64_t founded_ms, uint64_t wall_ms, char *out, size_t size) {
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {{DAY_MS, "days"}, {60 * MINUTE_MS, "hours"}, {MINUTE_MS, "minutes"}, {1000, "s"}};
    uint64_t age_ms = wall_ms > founded_ms ? wall_ms - founded_ms : 0;
    size_t i = 0;
    date_text(founded_ms, out, size);
    size_t used = strlen(out);
    while (i < 3 && age_ms < 2 * units[i].ms)
        i++;
    snprintf(out + used, size - used, ", %llu %s ago", (unsigned long long)(age_ms / units[i].ms),
             units[i].unit);
}

/* The last line of a start: which store it is that this node serves. Whoever started it by mistake into
 * somebody else's reads it here. */
static void say_serving(struct node *n, bool ready) {
    const struct configuration *configuration = raft_configuration(replica_raft_view(n->replica));
    char members[900] = "", founded[80];
    if (!ready)
        n->serving_ms = 0;
    else if (n->serving_ms == 0)
        n->serving_ms = n->now_ms;
    bool more_follows = n->now_ms - n->serving_ms < SERVING_MS || n->two_voters_ms != 0;
    if (n->said_serving || !ready || more_follows)
        return;
    n->said_serving = true;
    size_t others = node_list_members(n, false, "; other members: ", members, sizeof members);
    founding_text(configuration->founded_ms, n->host.wall_ms(n->host.arg), founded, sizeof founded);
    node_log(
        n, NODE_NOTICE, "serving", "%s: cluster '%s', group %u, founded %s, %llu keys%s%s",
        n->founded  ? "made a new store"
        : n->joined ? "joined an existing store"
                    : "serves the store of its data directory",
        n->self.cluster, n->self.group, founded, (unsigned long long)store_count(replica_store(n->replica)),
        others > 0 ? members : "; no other members",
        n->joined ? ". For a store of its own start the node with -cluster NAME on an empty data directory"
                  : "");
}

static void say_health(struct node *n) {
    struct health_facts facts;
    if (n->started_ms == 0 || n->now_ms - n->looked_ms < LOOK_MS)
        return;
    n->looked_ms = n->now_ms;
    node_health_facts(n, n->now_ms, &facts);
    enum health state = health_of(&facts);
    say_missing(n, state);
    say_serving(n, health_row(state)->ready);
}

void node_say_changes(struct node *n) {
    say_health(n);
    say_disk(n);
    say_waiting(n);
    say_two_voters(n);
    say_leader(n);
    say_configuration(n);
    bool alone = raft_alone(replica_raft_view(n->replica));
    if (alone != n->seen_alone)
        node_log(
            n, NODE_WARNING, alone ? "alone" : "majority_back",
            alone ? "hears no majority of the voters and continues alone: what it answers may be rolled back"
                  : "hears a majority of the voters again");
    n->seen_alone = alone;
}

void node_say_membership(struct node *n, const struct node_info *info, enum membership_event event) {
    static const char *const words[] = {
        [MEMBERSHIP_NOTHING] = NULL,
        [MEMBERSHIP_JOINED] = "is here",
        [MEMBERSHIP_CHANGED] = NULL,
        [MEMBERSHIP_RESTARTED] = "has restarted",
    };
    char id[NODE_ID_SIZE + 1], peer[ADDRESS_TEXT_MAX];
    if (words[event] != NULL)
        node_log(n, NODE_INFO, "node", "node %s of group %u at %s %s", node_id_text(info->id, id),
                 info->group, address_text(&info->peer, peer), words[event]);
}

void node_say_ring(struct node *n) {
    const struct groups *ring = &n->seen_ring;
    char numbers[256] = "";
    size_t size = 0;
    for (size_t i = 0; i < ring->count && size < sizeof numbers - 16; i++)
        size += (size_t)snprintf(numbers + size, sizeof numbers - size, "%s%u", i > 0 ? ", " : "",
                                 ring->list[i].number);
    node_log(n, ring->count > 1 ? NODE_NOTICE : NODE_DEBUG, "ring",
             "the ring, epoch %llu, has the group%s %s", (unsigned long long)ring->epoch,
             ring->count == 1 ? "" : "s", numbers);
}

void node_say_foreign(struct node *n, const struct node_info *info) {
    char id[NODE_ID_SIZE + 1], peer[ADDRESS_TEXT_MAX];
    for (size_t i = 0; i < n->said_foreign_count; i++)
        if (strcmp(n->said_foreign[i], info->cluster) == 0)
            return;
    if (n->said_foreign_count == FOREIGN_SAID_MAX)
        return;
    memcpy(n->said_foreign[n->said_foreign_count++], info->cluster, sizeof info->cluster);
    node_log(
        n, NODE_NOTICE, "foreign_cluster",
        "heard of another cluster, '%s': its node %s at %s is listed by /cluster and not joined; to be one "
        "cluster, start both with the same -cluster",
        info->cluster, node_id_text(info->id, id), address_text(&info->peer, peer));
}

void node_say_version(struct node *n, const struct address *source) {
    char from[ADDRESS_TEXT_MAX];
    node_log(
        n, NODE_WARNING, "other_version",
        "heard of a node at %s that runs another version of kvnode: the two cannot be of one cluster, so "
        "run the same version on both. Further ones are only counted, by kvnode_discovery_dropped_total",
        address_text(source, from));
}

void node_say_removed(struct node *n, const struct node_info *info) {
    char id[NODE_ID_SIZE + 1];
    node_log(n, NODE_INFO, "node_left", "node %s of group %u left, or was silent for 30 s",
             node_id_text(info->id, id), info->group);
}
