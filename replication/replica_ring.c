/* The ring in the group's log and in its snapshots (PROTOCOL.md, "Groups and the ring").
 *
 * A ring record is applied when it is committed, in an async group too: applying waits in front of one that
 * is not. So the state here is never undone, and a leader knows under which ring it appends a client's write:
 * before the first one of its term everything that its log held at its election is applied, and after a ring
 * record of its own it waits for that one. */
#include <assert.h>

#include "replication/replica_internal.h"

const struct groups_state *replica_groups(const struct replica *r) {
    return &r->groups;
}

bool replica_ring_apply(struct replica *r, struct bytes payload) {
    struct groups_record record;
    if (!groups_record_decode(payload, &record))
        return false;
    groups_apply(&r->groups, &record);
    return true;
}

static void follow_term(struct replica *r) {
    if (r->led_term == raft_term(r->raft))
        return;
    r->led_term = raft_term(r->raft);
    r->barrier = log_last(r->log);
}

enum raft_result replica_propose_ring(struct replica *r, const struct groups_record *record) {
    struct buffer payload = {0};
    struct version at;
    follow_term(r);
    groups_record_encode(&payload, record);
    enum raft_result result = raft_propose_payload(r->raft, ENTRY_RING, buffer_bytes(&payload), &at);
    buffer_release(&payload);
    if (result == RAFT_OK)
        r->barrier = at.index;
    return result;
}

bool replica_ring_idle(struct replica *r) {
    follow_term(r);
    return store_applied(r->store).index >= r->barrier;
}

bool replica_takes_writes(struct replica *r) {
    return !r->writes_held && r->groups.current.epoch != 0 && r->groups.proposed.epoch == 0 &&
           r->groups.yielded == 0 && replica_ring_idle(r);
}

void replica_hold_writes(struct replica *r, bool hold) {
    r->writes_held = hold;
}

void replica_state_encode(const struct replica *r, uint64_t at, const struct configuration *configuration,
                          struct buffer *out) {
    struct groups_state groups = r->groups;
    struct buffer encoded = {0};
    if (groups.written > at) /* applied before its commit: no part of the snapshot */
        groups.written = 0;
    configuration_encode(&encoded, configuration);
    write_bytes32(out, buffer_bytes(&encoded));
    groups_state_write(out, &groups);
    buffer_release(&encoded);
}

bool replica_state_decode(struct bytes state, struct configuration *configuration,
                          struct groups_state *groups) {
    struct reader r = reader_of(state);
    struct bytes encoded = read_bytes32(&r);
    return configuration_decode(encoded, configuration) && groups_state_read(&r, groups) && reader_done(&r);
}
