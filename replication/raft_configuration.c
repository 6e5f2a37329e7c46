/* The configurations that the log holds, and the members that follow from the newest one: in force from the
 * moment it is appended, out of force when it is truncated (Raft, section 6; bugs 23, 24).
 *
 * configurations[0] is the one that the log's first record found in force (a snapshot's, or none); those
 * after it are records of the log. So a snapshot at any index that the log reaches can name its
 * configuration. */
#include "replication/raft_internal.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define SCAN_SIZE (1024u * 1024) /* bytes of log read at a time */

const struct configuration *raft_configuration(const struct raft *r) {
    return &r->configurations[r->configuration_count - 1].configuration;
}

uint64_t raft_configuration_index(const struct raft *r) {
    return r->configurations[r->configuration_count - 1].index;
}

const struct configuration *raft_configuration_at(const struct raft *r, uint64_t index, uint64_t *at) {
    size_t i = r->configuration_count - 1;
    while (i > 0 && r->configurations[i].index > index)
        i--;
    *at = r->configurations[i].index;
    return &r->configurations[i].configuration;
}

/* One change at a time: the newest was proposed when the one before it was committed. */
const struct configuration *raft_configuration_committed(const struct raft *r, uint64_t *at) {
    size_t i = r->configuration_count - 1;
    if (i > 0 && r->configurations[i].index > r->commit)
        i--;
    *at = r->configurations[i].index;
    return &r->configurations[i].configuration;
}

/* Keeps what is known of members that stay. */
static void refresh_peers(struct raft *r) {
    const struct configuration *c = raft_configuration(r);
    struct raft_peer *fresh = calloc(MEMBERS_MAX, sizeof *fresh);
    if (fresh == NULL)
        err(1, "raft");
    size_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct member *member = &c->members[i];
        if (member_id_equal(&member->id, &r->options.self))
            continue;
        const struct raft_peer *known = raft_peer(r, &member->id);
        if (known != NULL) {
            fresh[count] = *known;
        } else {
            fresh[count].id = member->id;
            raft_peer_start(r, &fresh[count]);
        }
        fresh[count++].voter = member->role == MEMBER_VOTER;
    }
    memcpy(r->peers, fresh, sizeof r->peers);
    r->peer_count = count;
    free(fresh);
}

static void push(struct raft *r, uint64_t index, const struct configuration *configuration) {
    if (r->configuration_count == r->configuration_capacity) {
        r->configuration_capacity = r->configuration_capacity * 2 + 4;
        r->configurations =
            reallocarray(r->configurations, r->configuration_capacity, sizeof *r->configurations);
        if (r->configurations == NULL)
            err(1, "raft");
    }
    struct placed_configuration *last = &r->configurations[r->configuration_count++];
    last->index = index;
    last->configuration = *configuration;
}

void raft_configuration_push(struct raft *r, uint64_t index, const struct configuration *configuration) {
    assert(index > raft_configuration_index(r));
    push(r, index, configuration);
    refresh_peers(r);
}

void raft_configurations_truncate(struct raft *r, uint64_t index) {
    size_t count = r->configuration_count;
    while (r->configuration_count > 1 && raft_configuration_index(r) >= index)
        r->configuration_count--;
    if (r->configuration_count < count)
        refresh_peers(r);
}

void raft_configurations_replace(struct raft *r, uint64_t index, const struct configuration *configuration) {
    r->configuration_count = 0;
    push(r, index, configuration);
    refresh_peers(r);
}

/* Those before the log's first record are no longer asked for, except the last of them. */
void raft_configurations_prune(struct raft *r) {
    size_t gone = 0;
    while (gone + 1 < r->configuration_count && r->configurations[gone + 1].index < log_first(r->log))
        gone++;
    if (gone == 0)
        return;
    r->configuration_count -= gone;
    memmove(r->configurations, r->configurations + gone, r->configuration_count * sizeof *r->configurations);
}

static bool load_one(struct raft *r, uint64_t index) {
    struct log_record record;
    struct configuration configuration;
    if (log_read(r->log, index, &record) != LOG_OK || !configuration_decode(record.payload, &configuration))
        return false;
    push(r, index, &configuration);
    return true;
}

/* The bytes of log beyond the commit. */
static bool count_uncommitted(struct raft *r) {
    uint64_t next = r->commit + 1 > log_first(r->log) ? r->commit + 1 : log_first(r->log), last;
    for (; next <= log_last(r->log); next = last + 1) {
        struct bytes slice;
        if (log_slice(r->log, next, SCAN_SIZE, &slice, &last) != LOG_OK)
            return false;
        r->appended += slice.size;
    }
    return true;
}

void raft_configurations_load(struct raft *r, const struct configuration *base, uint64_t index) {
    push(r, index, base);
    bool ok = count_uncommitted(r);
    uint64_t at = index + 1;
    while (ok && (at = log_configuration_from(r->log, at)) <= log_last(r->log))
        ok = load_one(r, at++);
    if (!ok)
        raft_fail(r);
    refresh_peers(r);
}
