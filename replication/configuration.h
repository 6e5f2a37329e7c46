/* A group's configuration: who belongs to it and how it acknowledges. The payload of ENTRY_CONFIGURATION.
 *
 * In force from the moment it is appended, back out of force when it is truncated (Raft, section 6 and the
 * thesis, section 4.1; bugs 23, 24).
 *
 * Whenever the set of voters changes, a joint configuration stands between the two (Raft, section 6; the
 * thesis, section 4.3): each member says in which of the two sets it votes, and whatever needs a majority
 * needs one of each. Outside a joint configuration members are learners and voters only. */
#ifndef REPLICATION_CONFIGURATION_H
#define REPLICATION_CONFIGURATION_H

#include "cluster/node_info.h"

#define MEMBERS_MAX 32 /* voters and learners of one group: what a configuration record may hold */
#define VOTERS_MAX  9  /* highest -voters */
#define REMOVED_MAX 32 /* former members that are remembered, the latest */

struct member_id {
    uint8_t id[NODE_ID_SIZE];
    uint64_t incarnation;
};

/* The voters before a change and after it: bits of a member's role. */
enum voter_set { VOTERS_OLD = 1, VOTERS_NEW = 2 };

enum member_role {
    MEMBER_LEARNER = 0,
    MEMBER_OUTGOING = VOTERS_OLD, /* joint: will be a learner */
    MEMBER_INCOMING = VOTERS_NEW, /* joint: was a learner */
    MEMBER_VOTER = VOTERS_OLD | VOTERS_NEW,
    MEMBER_LEAVING = VOTERS_OLD | 4, /* joint: will be no member */
};

struct member {
    struct member_id id;
    enum member_role role;
    struct address peer, api; /* where it was when it was added, or has moved to since: a hint */
};

/* When a write is answered; a request may ask for more, never for less. */
enum ack_mode { ACK_ASYNC, ACK_QUORUM, ACK_ALL };

struct configuration {
    uint64_t group_id; /* random, from the group's founding */
    uint32_t group;
    uint64_t founded_ms; /* Unix time of the founding, by the founder's clock: for people */
    enum ack_mode mode;
    uint8_t voters_max;
    size_t count; /* 0: none, a newcomer's */
    struct member members[MEMBERS_MAX];
    /* Former members, the oldest first: they come back by hand, or emptied, never by themselves. */
    size_t removed_count;
    struct member_id removed[REMOVED_MAX];
};

bool member_id_equal(const struct member_id *a, const struct member_id *b);
void configuration_encode(struct buffer *out, const struct configuration *configuration);
/* False for foreign bytes that are none: unknown mode, a repeated id, no voter, too many members. */
bool configuration_decode(struct bytes payload, struct configuration *out);
/* In either set. */
bool member_votes(const struct member *member);
/* Of the one set; without one named, of those after the change. */
size_t configuration_voters_in(const struct configuration *configuration, enum voter_set set);
size_t configuration_voters(const struct configuration *configuration);
bool configuration_is_joint(const struct configuration *configuration);
bool configuration_same_voters(const struct configuration *a, const struct configuration *b);
/* What is to be appended first on the way from one configuration to another, neither of them joint: that one
 * where both have the same voters, else the joint one. There is room for its members (asserted). */
void configuration_towards(const struct configuration *from, const struct configuration *to,
                           struct configuration *out);
/* The configuration after a joint one: that of the one set or of the other. */
void configuration_after(const struct configuration *joint, enum voter_set set, struct configuration *out);
/* NULL where it is no member. */
const struct member *configuration_find(const struct configuration *configuration,
                                        const struct member_id *id);
const struct member *configuration_find_name(const struct configuration *configuration,
                                             const uint8_t id[NODE_ID_SIZE]);
bool configuration_was_removed(const struct configuration *configuration, const struct member_id *id);
/* Takes a member out and forgets it: it may come back by itself. */
void configuration_drop(struct configuration *configuration, const struct member_id *id);
/* Takes a member out and remembers it; of more than REMOVED_MAX the oldest is forgotten. */
void configuration_remove(struct configuration *configuration, const struct member_id *id);
/* Adds one that is no member as a learner; forgotten as a former member. There is room (asserted). */
void configuration_add(struct configuration *configuration, const struct member_id *id,
                       const struct address *peer, const struct address *api);

#endif
