/* A replica whose state is not the one that a majority of the voters agrees on (PROTOCOL.md, "Comparing
 * states"): the file that keeps it out of service over restarts, what is said of it, and the look at its own
 * records that makes failed memory show in its digest. */
#include <stdio.h>

#include "replication/replica_internal.h"
#include "storage/wire.h"

#define ODD_FILE "diverged"

#define CHECK_MS      50            /* between slices, */
#define CHECK_RECORDS 512           /* of so many records */
#define CHECK_SIZE    (256u * 1024) /* or bytes: tens of microseconds */
#define CHECK_REST_MS 1000          /* between passes */

bool replica_odd_open(struct replica *r) {
    struct file *file;
    if (file_open(r->options.fs, ODD_FILE, false, &file) != FILE_OK)
        return false;
    file_close(file);
    return true;
}

/* A disk that has no room for the file stops nothing: the leader tells it again after a restart. */
void replica_odd_keep(void *arg, bool odd) {
    struct replica *r = arg;
    struct buffer content = {0};
    if (odd) {
        replica_snapshot_release(r); /* of a state that nobody shall have */
        write_u64(&content, raft_commit(r->raft));
        file_replace(r->options.fs, ODD_FILE, buffer_bytes(&content));
    } else {
        file_system_remove(r->options.fs, ODD_FILE);
        file_system_sync(r->options.fs); /* a name that comes back only calls for another copy */
    }
    buffer_release(&content);
}

static void tell(struct replica *r, enum replica_notice notice, const char *text) {
    r->host.notice(r->host.arg, notice, text);
}

static void tell_own(struct replica *r, bool odd) {
    char text[240];
    if (odd)
        snprintf(
            text, sizeof text,
            "this node's keys differ from those that a majority of its group agrees on, at index %llu: "
            "it serves nothing until they agree again; a copy from the leader replaces them; look at its "
            "memory and disk",
            (unsigned long long)raft_commit(r->raft));
    else
        snprintf(text, sizeof text, "this node's keys agree with the majority's: it serves again");
    tell(r, odd ? REPLICA_ODD : REPLICA_EQUAL_AGAIN, text);
}

static void tell_members(struct replica *r) {
    const struct configuration *configuration = raft_configuration(r->raft);
    char text[240];
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        if (member_id_equal(&member->id, &r->options.self) || !raft_member_odd(r->raft, &member->id))
            continue;
        snprintf(text, sizeof text,
                 "the keys of node %.*s differ from those that a majority agrees on, at index %llu: it "
                 "counts for nothing until a copy has replaced them",
                 NODE_ID_SIZE, (const char *)member->id.id,
                 (unsigned long long)raft_comparison(r->raft)->index);
        tell(r, REPLICA_ODD, text);
    }
}

static void tell_unequal(struct replica *r, uint64_t index) {
    const struct configuration *configuration = raft_configuration(r->raft);
    char text[400];
    size_t used = (size_t)snprintf(text, sizeof text, "the keys of the group's voters agree again");
    if (index != 0)
        used = (size_t)snprintf(text, sizeof text,
                                "the keys of the group's voters differ at index %llu, and no majority "
                                "agrees, so that nobody knows which are right; the voters are",
                                (unsigned long long)index);
    for (size_t i = 0; i < configuration->count && index != 0 && used + 2 * NODE_ID_SIZE < sizeof text; i++)
        if (member_votes(&configuration->members[i]))
            used += (size_t)snprintf(text + used, sizeof text - used, " %.*s", NODE_ID_SIZE,
                                     (const char *)configuration->members[i].id.id);
    tell(r, index != 0 ? REPLICA_UNEQUAL : REPLICA_EQUAL_AGAIN, text);
}

void replica_odd_tell(struct replica *r) {
    const struct raft_comparison *comparison = raft_comparison(r->raft);
    bool odd = raft_odd(r->raft);
    if (odd != r->told_odd)
        tell_own(r, odd);
    if (comparison->odd != r->told_odd_count && raft_role(r->raft) == RAFT_LEADER)
        tell_members(r);
    if (raft_role(r->raft) == RAFT_LEADER && (comparison->unequal_index != 0) != (r->told_unequal != 0))
        tell_unequal(r, comparison->unequal_index);
    r->told_odd = odd;
    r->told_odd_count = comparison->odd;
    r->told_unequal = comparison->unequal_index;
}

void replica_check_tick(struct replica *r) {
    if (r->now_ms < r->check.due_ms)
        return;
    enum store_checked checked = store_check(r->store, CHECK_RECORDS, CHECK_SIZE);
    r->check.due_ms = r->now_ms + (checked == STORE_CHECK_GOES_ON ? CHECK_MS : CHECK_REST_MS);
    r->check.passes += checked != STORE_CHECK_GOES_ON;
    if (checked != STORE_CHECK_WRONG)
        return;
    r->check.wrong++;
    replica_digest_note(r);
    tell(r, REPLICA_MEMORY_FAILED,
         "what this node holds in memory is not what was written: its memory fails. Where a majority of the "
         "group's other nodes agrees, a copy replaces it; a node alone, or one of two, has to be started "
         "again, and reads its keys from its disk");
}

const struct replica_check *replica_check(const struct replica *r) {
    return &r->check;
}
