/* What had been durable is damaged at the start: the node's files are set aside, under names that tell the
 * new incarnation, and it joins its group anew, so that it never votes or acknowledges with less than it once
 * had. They are removed when it is a full member again (storage/aside.h).
 *
 * It never founds a group meanwhile, and joins none but its own: where the others do not take it, what it had
 * is still there. The group's only voter, as far as it knows, refuses to start. */
#include "cmd/node_internal.h"

#include <bsd/string.h>
#include <inttypes.h>
#include <stdio.h>

#include "storage/aside.h"

bool node_aside_finish(struct node *n, char *why, size_t why_size) {
    if (aside_finish(n->options.fs, &n->identity) == FILE_OK)
        return true;
    snprintf(why, why_size,
             "cannot set the damaged files of the data directory aside: is the disk full or read-only?");
    return false;
}

bool node_aside_set(struct node *n, char *why, size_t why_size) {
    char cause[256];
    strlcpy(cause, why, sizeof cause);
    if (n->identity.group_id == 0 || n->identity.other_voters == 0) {
        snprintf(
            why, why_size,
            "%s; this node is its group's only voter, as far as it knows, and what it holds is nowhere else: "
            "restore the file from a backup, see what 'kvctl directory check' can save, or empty the data "
            "directory and lose what was in it",
            cause);
        return false;
    }
    if (aside_begin(n->options.fs, &n->identity, node_random(n, 6)) != FILE_OK) {
        snprintf(why, why_size,
                 "%s; and the file 'identity' cannot be written: is the disk full or read-only?", cause);
        return false;
    }
    if (!node_aside_finish(n, why, why_size))
        return false;
    node_group_name_self(n);
    node_log(n, NODE_WARNING, "set_aside",
             "%s; the group has %u other voters: this node's files are renamed aside-%016" PRIx64
             "-..., and it joins its group again",
             cause, n->identity.other_voters, n->identity.incarnation);
    return true;
}

/* A voter by a committed configuration holds all that the group has committed. Where its place was taken
 * meanwhile, a learner has to hold what the leader has, and that has to know all that is committed: it does
 * once a record of its own term is (Raft, section 8). */
static bool is_full_member(const struct node *n) {
    const struct raft *raft = replica_raft_view(n->replica);
    uint64_t at;
    const struct configuration *committed = raft_configuration_committed(replica_raft_view(n->replica), &at);
    const struct member *member = configuration_find(committed, &n->self_id);
    if (member == NULL || member->role == MEMBER_VOTER)
        return member != NULL;
    uint64_t leader_commit = raft_leader_commit(raft), commit = raft_commit(raft), term;
    bool known = log_term_at(replica_log(n->replica), commit, &term) && term == raft_term(raft);
    return configuration_voters(committed) >= committed->voters_max && known && leader_commit > 0 &&
           commit >= leader_commit;
}

static void remove_beside(struct node *n) {
    size_t count;
    if (aside_remove(n->options.fs, &n->identity, &count) == FILE_OK)
        node_log(n, NODE_NOTICE, "aside_removed",
                 "a full member again: %zu damaged files that had been set aside are removed", count);
}

/* How many others vote is what a start that can read nothing else has to know. */
static void note_voters(struct node *n) {
    const struct raft *raft = replica_raft_view(n->replica);
    const struct configuration *configuration = raft_configuration(raft);
    uint64_t index = raft_configuration_index(raft);
    unsigned others = 0;
    if (n->identity.group_id == 0 || configuration->count == 0 || index == n->noted_configuration)
        return;
    n->noted_configuration = index;
    for (size_t i = 0; i < configuration->count; i++)
        others += member_votes(&configuration->members[i]) &&
                  !member_id_equal(&configuration->members[i].id, &n->self_id);
    if (others == n->identity.other_voters)
        return;
    n->identity.other_voters = (uint8_t)others;
    if (!node_save_identity(n))
        node_log(n, NODE_WARNING, "disk_failed", IDENTITY_UNWRITTEN);
}

/* With every pass of the scrub. What has no group is not to be written: a start takes it for one that ended
 * before it had a group. */
static void scrub_identity(struct node *n) {
    struct identity found;
    char ignored[160];
    uint64_t passes = replica_damage(n->replica)->passes;
    if (passes == n->noted_passes || n->identity.group_id == 0)
        return;
    n->noted_passes = passes;
    enum file_result result = identity_load(n->options.fs, &found, ignored, sizeof ignored);
    bool damaged = result == FILE_CORRUPT || result == FILE_OLD || (result == FILE_OK && found.worn);
    if (damaged && node_save_identity(n))
        replica_scrub_rewritten(n->replica, IDENTITY_FILE);
}

void node_aside_tick(struct node *n) {
    note_voters(n);
    scrub_identity(n);
    n->known.repairing = n->identity.files != IDENTITY_FILES_OWN;
    if (n->identity.files == IDENTITY_FILES_BESIDE && is_full_member(n))
        remove_beside(n);
}
