/* A group's configuration: who belongs to it and how it acknowledges. The payload of ENTRY_CONFIGURATION.
 *
 * In force from the moment it is appended, back out of force when it is truncated (Raft, section 6 and the
 * thesis, section 4.1; bugs 23, 24). One member is added, removed, promoted or replaced at a time. */
#ifndef REPLICATION_CONFIGURATION_H
#define REPLICATION_CONFIGURATION_H

#include "cluster/node_info.h"

#define MEMBERS_MAX 32 /* voters and learners of one group: what a configuration record may hold */
#define VOTERS_MAX  9  /* highest -voters; one more votes for a moment while one is replaced */
#define REMOVED_MAX 32 /* former members that are remembered, the latest */

struct member_id {
    uint8_t id[NODE_ID_SIZE];
    uint64_t incarnation;
};

enum member_role { MEMBER_LEARNER, MEMBER_VOTER };

struct member {
    struct member_id id;
    enum member_role role;
    bool replaced;            /* a voter whose place another has taken: it goes next */
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
size_t configuration_voters(const struct configuration *configuration);
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
