#include "cmd/node.h"

#include <assert.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/node_internal.h"
#include "sharding/hash.h"

#define STOP_MS     1500  /* a clean stop waits this long for answers */
#define FILES_MS    10000 /* between looks whether the files are still there */
#define HANDOVER_MS 600   /* and this long for a handover: others may be stopping too */

static bool try_message(void *arg, const struct member_id *to, const struct message *message) {
    struct node *n = arg;
    enum peers_lane lane = message->type == MESSAGE_SNAPSHOT ? PEERS_BULK : PEERS_MAIN;
    buffer_clear(&n->message);
    message_encode(&n->message, message);
    return peers_send(n->peers, n->now_ms, to, lane, FRAME_RAFT, buffer_bytes(&n->message));
}

/* Losing it is fine: consensus repeats itself. */
static void send_message(void *arg, const struct member_id *to, const struct message *message) {
    try_message(arg, to, message);
}

static void background(void *arg, struct job *job) {
    struct node *n = arg;
    n->host.background(n->host.arg, job);
}

static void replica_notice_text(void *arg, enum replica_notice notice, const char *text) {
    static const struct {
        enum node_level level;
        const char *event;
    } rows[] = {
        [REPLICA_TAIL_CUT] = {NODE_NOTICE, "tail_cut"},
        [REPLICA_SNAPSHOT_TAKEN] = {NODE_DEBUG, "snapshot_taken"},
        [REPLICA_SNAPSHOT_INSTALLED] = {NODE_NOTICE, "snapshot_installed"},
        [REPLICA_SNAPSHOT_FAILED] = {NODE_WARNING, "snapshot_failed"},
        [REPLICA_LEDGER_DAMAGED] = {NODE_WARNING, "ledger_damaged"},
        [REPLICA_OVERRULED] = {NODE_WARNING, "writes_overruled"},
        [REPLICA_DISK_FULL] = {NODE_WARNING, "disk_full"},
        [REPLICA_LEDGER_FULL] = {NODE_WARNING, "ledger_full"},
        [REPLICA_DISK_HAS_ROOM] = {NODE_NOTICE, "disk_has_room"},
        [REPLICA_ODD] = {NODE_ERROR, "state_differs"},
        [REPLICA_EQUAL_AGAIN] = {NODE_NOTICE, "state_agrees"},
        [REPLICA_MEMORY_FAILED] = {NODE_ERROR, "memory_failed"},
        [REPLICA_UNEQUAL] = {NODE_ERROR, "states_unequal"},
        [REPLICA_DIVERGED] = {NODE_WARNING, "diverged"},
        [REPLICA_COMMITS_LOST] = {NODE_WARNING, "commits_lost"},
        [REPLICA_FILE_DAMAGED] = {NODE_ERROR, "file_damaged"},
        [REPLICA_FILE_MENDED] = {NODE_NOTICE, "file_mended"},
    };
    struct node *n = arg;
    n->known.ledger_damaged |= notice == REPLICA_LEDGER_DAMAGED;
    node_log(n, rows[notice].level, rows[notice].event, "%s", text);
}

static void applied(void *arg, struct version at, const struct store_effect *effect) {
    struct node *n = arg;
    if (n->coordinator != NULL)
        coordinator_applied(n->coordinator, n->now_ms, at, effect);
}

static bool unanswered(void *arg, struct version at) {
    struct node *n = arg;
    return coordinator_unanswered(n->coordinator, at);
}

static void overruled(void *arg, uint64_t index) {
    struct node *n = arg;
    coordinator_overruled(n->coordinator, index);
}

static bool send_request(void *arg, const struct member_id *to, struct bytes payload) {
    struct node *n = arg;
    return peers_send(n->peers, n->now_ms, to, PEERS_MAIN, FRAME_REQUEST, payload);
}

static bool send_routed(void *arg, const struct member_id *to, struct bytes payload) {
    struct node *n = arg;
    return peers_send(n->peers, n->now_ms, to, PEERS_MAIN, FRAME_ROUTED, payload);
}

/* A member that passed on a write hears of the commit first, so that whoever is answered there reads it
 * there.
 */
static void send_reply(void *arg, const struct member_id *to, struct bytes payload) {
    struct node *n = arg;
    raft_tell(replica_raft(n->replica), n->now_ms, to);
    peers_send(n->peers, n->now_ms, to, PEERS_MAIN, FRAME_REPLY, payload);
}

static void answer(void *arg, uint64_t ticket, const struct reply *reply) {
    struct node *n = arg;
    api_reply(n->api, ticket, reply);
}

static const struct node_info *foreign(void *arg, size_t position) {
    struct node *n = arg;
    return position < discovery_foreign_count(n->discovery) ? discovery_foreign_at(n->discovery, position)
                                                            : NULL;
}

static void dial(void *arg, uint32_t connection, const struct address *to) {
    struct node *n = arg;
    n->host.dial(n->host.arg, connection, to);
}

static void write_peer(void *arg, uint32_t connection, struct bytes data) {
    struct node *n = arg;
    n->host.write(n->host.arg, connection, data);
}

static void close_peer(void *arg, uint32_t connection) {
    struct node *n = arg;
    n->host.close(n->host.arg, connection);
}

static void hold_peer(void *arg, uint32_t connection, bool held) {
    struct node *n = arg;
    n->host.hold(n->host.arg, connection, held);
}

static void peer_up(void *arg, const struct peer *peer) {
    struct node *n = arg;
    discovery_heard(n->discovery, n->now_ms, &peer->info);
    if (peer->info.group == n->self.group)
        raft_link(replica_raft(n->replica), n->now_ms, &peer->id, RAFT_LINK_UP);
    n->roster_ms = 0;
}

static void peer_down(void *arg, const struct peer *peer, bool refused) {
    struct node *n = arg;
    coordinator_link_down(n->coordinator, n->now_ms, &peer->id);
    if (peer->info.group == n->self.group)
        raft_link(replica_raft(n->replica), n->now_ms, &peer->id,
                  refused ? RAFT_LINK_REFUSED : RAFT_LINK_DOWN);
}

static void peer_info(void *arg, const struct peer *peer) {
    struct node *n = arg;
    discovery_heard(n->discovery, n->now_ms, &peer->info);
    n->roster_ms = 0;
}

static void raft_frame(struct node *n, const struct peer *peer, struct bytes payload) {
    struct message message;
    if (!message_decode(payload, &message) || !node_group_accept(n, peer, &message))
        return;
    if (message.type == MESSAGE_READ_INDEX || message.type == MESSAGE_READ_INDEX_REPLY)
        coordinator_read_index(n->coordinator, n->now_ms, &peer->id, &message);
    else if (message.type == MESSAGE_REMOVED)
        node_members_told(n, peer, &message);
    else {
        replica_receive(n->replica, n->now_ms, n->host.wall_ms(n->host.arg), &peer->id, &message);
        node_members_led(n, peer, &message);
    }
}

static void peer_frame(void *arg, const struct peer *peer, enum frame_type type, struct bytes payload) {
    struct node *n = arg;
    switch (type) {
    case FRAME_RAFT:
        raft_frame(n, peer, payload);
        break;
    case FRAME_REQUEST:
        coordinator_request(n->coordinator, n->now_ms, &peer->id, payload);
        break;
    case FRAME_REPLY:
        coordinator_replied(n->coordinator, n->now_ms, &peer->id, payload);
        break;
    case FRAME_RING:
        node_ring_heard(n, peer, payload);
        break;
    case FRAME_ROUTED:
        coordinator_routed(n->coordinator, n->now_ms, &peer->id, payload);
        break;
    case FRAME_INFO:
        break;
    }
}

static void peer_refused(void *arg, const struct address *at, const struct node_info *info,
                         enum peers_refusal reason, bool ours) {
    node_group_refused(arg, at, info, reason, ours);
}

/* An id of the operator's choice may have been given twice, to directories that are no copies of each other.
 * Who has not joined yet loses nothing by ending; a member does not end because somebody says its id. */
static void peer_duplicate(void *arg, const struct address *at, bool proved) {
    struct node *n = arg;
    if (!proved && (!n->options.id_given || n->identity.group_id != 0))
        return;
    char text[ADDRESS_TEXT_MAX], id[NODE_ID_SIZE + 1];
    node_log(n, NODE_ERROR, "duplicate_id",
             "another live node, at %s, uses this node's id %s: stop it, or give this one %s",
             address_text(at, text), node_id_text(n->self.id, id),
             proved ? "a data directory of its own" : "another -id");
    n->state = NODE_FAILED;
}

static uint64_t peer_prove(void *arg, struct bytes claim) {
    const struct node *n = arg;
    return hash_bytes(get_u64(n->identity.secret), get_u64(n->identity.secret + 8), claim);
}

static void send_datagram(void *arg, const struct address *to, struct bytes datagram) {
    struct node *n = arg;
    n->host.datagram(n->host.arg, to, datagram);
}

static void node_heard(void *arg, const struct node_info *info, enum membership_event event,
                       const struct address *source) {
    struct node *n = arg;
    node_say_membership(n, info, event);
    if (source != NULL)
        peers_learn(n->peers, n->now_ms, &info->peer, source);
}

static void node_foreign(void *arg, const struct node_info *info) {
    node_say_foreign(arg, info);
}

static void node_version(void *arg, const struct address *source) {
    node_say_version(arg, source);
}

static void node_removed(void *arg, const struct node_info *info) {
    struct node *n = arg;
    node_say_removed(n, info);
    if (!node_group_member_at(n, &info->peer))
        peers_forget(n->peers, &info->peer);
}

static bool open_replica(struct node *n, bool *damaged, char *why, size_t why_size) {
    struct replica_options options = {
        .fs = n->options.fs,
        .had_log = n->identity.group_id != 0 && n->identity.files == IDENTITY_FILES_OWN,
        .damaged = damaged,
        .self = n->self_id,
        .group_id = n->identity.group_id,
        .sync = n->options.memory ? SYNC_NEVER : n->options.sync,
        .sync_interval_ms = n->options.sync_interval_ms,
        .segment_size = n->options.segment_size,
        .snapshot_log_size = n->options.snapshot_log_size,
        .scrub_rest_ms = n->options.scrub_rest_ms,
        .snapshot_max = n->options.snapshot_max,
        .seed = n->options.seed,
    };
    struct replica_host host = {
        .arg = n,
        .send = send_message,
        .background = background,
        .applied = applied,
        .unanswered = unanswered,
        .overruled = overruled,
        .notice = replica_notice_text,
    };
    return replica_open(&options, &host, n->now_ms, &n->replica, why, why_size);
}

static void make_cores(struct node *n) {
    struct peers_host peers_host = {
        .arg = n,
        .dial = dial,
        .write = write_peer,
        .close = close_peer,
        .hold = hold_peer,
        .up = peer_up,
        .down = peer_down,
        .info = peer_info,
        .frame = peer_frame,
        .refused = peer_refused,
        .duplicate = peer_duplicate,
        .prove = peer_prove,
    };
    struct discovery_host discovery_host = {
        .arg = n,
        .send = send_datagram,
        .heard = node_heard,
        .removed = node_removed,
        .foreign = node_foreign,
        .version = node_version,
    };
    struct coordinator_host coordinator_host = {
        .arg = n,
        .request = send_request,
        .route = send_routed,
        .reply = send_reply,
        .read_index = try_message,
        .answer = answer,
        .foreign = foreign,
        .health = node_health_view,
    };
    n->peers = peers_new(&peers_host, &n->self, n->options.memory, n->options.seed + 1);
    n->steward = steward_new();
    n->discovery = discovery_new(&discovery_host, &n->self, n->options.broadcast, n->options.seed + 2);
    struct coordinator_options coordinator_options = {
        .replica = n->replica,
        .membership = discovery_membership(n->discovery),
        .self = &n->self,
        .peers = n->peers,
        .route = n->options.route,
    };
    n->coordinator = coordinator_new(&coordinator_options, &coordinator_host);
    struct api_options api_options = {
        .coordinator = n->coordinator,
        .replica = n->replica,
        .host = node_outside(n),
        .slow_ms = n->options.slow_ms,
        .allow_hosts = n->options.allow_hosts,
        .clients_max = n->options.clients_max,
    };
    n->api = api_new(&api_options);
    api_log_requests(n->api, n->options.level == NODE_DEBUG);
}

bool node_open(const struct node_options *options, const struct node_host *host, uint64_t now_ms,
               struct node **out, char *why, size_t why_size) {
    struct node *n = calloc(1, sizeof *n);
    if (n == NULL)
        err(1, "out of memory");
    n->options = *options;
    n->host = *host;
    n->now_ms = now_ms;
    bool damaged = false, ok = node_group_open(n, why, why_size);
    if (ok && !open_replica(n, &damaged, why, why_size))
        ok = damaged && node_aside_set(n, why, why_size) && open_replica(n, &damaged, why, why_size);
    if (!ok) {
        node_close(n);
        return false;
    }
    node_group_opened(n);
    node_members_open(n);
    make_cores(n);
    node_ring_follow(n);
    node_group_update_self(n);
    *out = n;
    return true;
}

void node_close(struct node *n) {
    if (n == NULL)
        return;
    if (n->api != NULL)
        api_free(n->api);
    coordinator_free(n->coordinator);
    steward_free(n->steward);
    if (n->discovery != NULL)
        discovery_free(n->discovery);
    if (n->peers != NULL)
        peers_free(n->peers);
    replica_close(n->replica);
    buffer_release(&n->message);
    free(n);
}

void node_start(struct node *n, uint64_t now_ms) {
    n->now_ms = n->started_ms = now_ms;
    node_say_start(n);
    discovery_start(n->discovery, now_ms);
}

static void set_now(struct node *n, uint64_t now_ms) {
    if (now_ms > n->now_ms)
        n->now_ms = now_ms;
    replica_now(n->replica, n->now_ms);
}

void node_datagram(struct node *n, uint64_t now_ms, const struct address *from, struct bytes datagram) {
    set_now(n, now_ms);
    discovery_datagram(n->discovery, now_ms, from, datagram);
}

void node_learn(struct node *n, uint64_t now_ms, const struct address *peer) {
    set_now(n, now_ms);
    n->learned++;
    peers_learn(n->peers, now_ms, peer, NULL);
}

void node_job_done(struct node *n, uint64_t now_ms, struct job *job) {
    set_now(n, now_ms);
    job->done(job);
}

static void finish_stopping(struct node *n) {
    bool drained = api_drain(n->api);
    bool late = n->now_ms >= n->stop_ms + STOP_MS;
    bool leads = raft_role(replica_raft(n->replica)) == RAFT_LEADER;
    bool handing_over = leads && n->handed_over && n->now_ms < n->stop_ms + HANDOVER_MS;
    if (!late && (!drained || coordinator_pending(n->coordinator) > 0 || handing_over))
        return;
    discovery_leave(n->discovery);
    n->state = NODE_STOPPED;
}

static void look_for_files(struct node *n) {
    if (n->now_ms - n->files_ms < FILES_MS)
        return;
    bool missing = !replica_files_there(n->replica);
    if (missing && !n->known.files_missing) {
        const struct health_row *row = health_row(HEALTH_FILES_MISSING);
        node_log(n, NODE_ERROR, "files_missing", "%s. %s", row->reason, row->fix);
    }
    n->known.files_missing = missing;
    n->files_ms = n->now_ms;
}

static void tick(struct node *n) {
    uint64_t next = replica_tick(n->replica, n->now_ms, n->host.wall_ms(n->host.arg));
    uint64_t wanted[] = {
        peers_tick(n->peers, n->now_ms),
        discovery_tick(n->discovery, n->now_ms),
        coordinator_tick(n->coordinator, n->now_ms),
        api_tick(n->api, n->now_ms),
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (wanted[i] < next)
            next = wanted[i];
    uint64_t group = node_group_tick(n);
    look_for_files(n);
    uint64_t ring = node_ring_tick(n);
    next = group < next ? group : next;
    next = ring < next ? ring : next;
    n->ticked_ms = n->now_ms;
    n->next_ms = next;
}

/* What the coordinator begins (requests that waited for a leader) belongs to this turn too: it is flushed
 * until nothing follows any more. */
static void flush(struct node *n) {
    bool moved, begun;
    do {
        moved = replica_flush(n->replica, n->now_ms);
        node_ring_follow(n);
        begun = coordinator_poll(n->coordinator, n->now_ms);
    } while (moved || begun);
}

/* Whoever gets an answer writes again at once. So a leader's answers leave first, and what comes meanwhile
 * joins the batch that the next turn writes and sends: fewer and larger batches. */
static bool answer_first(struct node *n) {
    n->gathering = replica_answer(n->replica, n->now_ms);
    if (n->gathering) {
        node_ring_follow(n);
        coordinator_poll(n->coordinator, n->now_ms);
    }
    return n->gathering;
}

uint64_t node_turn(struct node *n, uint64_t now_ms) {
    set_now(n, now_ms);
    /* Timers are looked at once a millisecond; a turn within the same one asks to be called in the next. */
    bool ticks = n->now_ms != n->ticked_ms;
    if (ticks)
        tick(n);
    if (!answer_first(n))
        flush(n);
    node_say_changes(n);
    const char *failure = replica_failure(n->replica);
    if (failure != NULL && n->state != NODE_FAILED) {
        node_log(n, NODE_ERROR, "disk_failed", "%s", failure);
        n->state = NODE_FAILED;
    }
    if (n->state == NODE_STOPPING)
        finish_stopping(n);
    if (n->gathering)
        return n->now_ms;
    return ticks && !raft_holding(replica_raft(n->replica)) ? n->next_ms : n->now_ms + 1;
}

void node_stop(struct node *n, uint64_t now_ms) {
    if (n->state != NODE_RUNNING)
        return;
    set_now(n, now_ms);
    n->state = NODE_STOPPING;
    n->stop_ms = now_ms;
    node_log(n, NODE_INFO, "stopping", "stopping: answering what was accepted");
    coordinator_stop(n->coordinator);
    if (raft_role(replica_raft(n->replica)) == RAFT_LEADER)
        n->handed_over = raft_transfer(replica_raft(n->replica), now_ms, NULL);
}

bool node_shutdown(struct node *n) {
    assert(n->state == NODE_STOPPED);
    if (!replica_shutdown(n->replica)) {
        node_log(n, NODE_ERROR, "disk_failed", "%s", replica_failure(n->replica));
        return false;
    }
    n->known.files_missing = !replica_files_there(n->replica);
    if (n->known.files_missing)
        node_log(n, NODE_ERROR, "files_missing",
                 "stopped: files of the data directory were removed or renamed while the node ran: what it "
                 "held is "
                 "not whole on disk");
    return !n->known.files_missing;
}

enum node_state node_state(const struct node *n) {
    return n->state;
}

struct peers *node_peers(struct node *n) {
    return n->peers;
}

struct api *node_api(struct node *n) {
    return n->api;
}

struct replica *node_replica(struct node *n) {
    return n->replica;
}

const struct node_info *node_self(const struct node *n) {
    return &n->self;
}
