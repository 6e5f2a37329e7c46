/* What the leader of a group has to log next so that the groups of a cluster come to share one ring.
 * PROTOCOL.md, "Groups and the ring", draws it.
 *
 * Decides on facts only: what the own group's log has committed, and what the other groups' leaders report of
 * theirs, which may be old but was committed. Nothing here outlives a leader: the next one goes on from the
 * log. A pure core, one for a node. */
#ifndef REPLICATION_STEWARD_H
#define REPLICATION_STEWARD_H

#include "cluster/groups.h"

/* A leader tells the other groups what its log says this often, and on changes. */
#define STEWARD_REPORT_MS 250
#define STEWARD_FRESH_MS  1500 /* a report older than this is of a group that cannot be asked now */
/* A ring that nobody has reported for so long is no reason not to found one. */
#define STEWARD_FORGET_MS 30000
#define STEWARD_DECIDE_MS 3000 /* a proposal that not all take part in by then is aborted */
#define STEWARD_REST_MS   1000 /* after an abort */
/* A group's first leader looks for other groups so long before it founds a ring. */
#define STEWARD_LISTEN_MS 500

/* The leader's own group, and what its node hears. */
struct steward_view {
    uint32_t number;
    uint64_t founding;
    const struct groups_state *state;
    uint64_t led_ms;    /* since when this node leads */
    bool ring_visible;  /* some node of another group hints at a ring */
    bool lower_visible; /* a group of a lower number is about to found one */
    uint64_t ring_id;   /* for the ring it may found: random */
};

struct steward;

struct steward *steward_new(void);
void steward_free(struct steward *s);
/* The leader of another group reports what its log says. */
void steward_heard(struct steward *s, uint64_t now_ms, uint32_t number, uint64_t founding,
                   const struct groups_state *state);
/* The record to log, once every ring record before it is applied. False: nothing at present. */
bool steward_next(struct steward *s, uint64_t now_ms, const struct steward_view *view,
                  struct groups_record *out);
/* A ring heard of: what a node whose own group is on none routes by. NULL: none. Borrowed until the next
 * report. */
const struct groups *steward_heard_ring(const struct steward *s);

enum steward_trouble {
    STEWARD_WELL,
    STEWARD_KEYS,      /* joining: the ring's groups hold keys, which cannot move */
    STEWARD_LISTED,    /* joining: another founding of the number is on the ring */
    STEWARD_WAITS,     /* joining: looks for other groups, or waits for the ring's steward */
    STEWARD_TWO_RINGS, /* two rings of one cluster name have met, and neither can give way */
};
enum steward_trouble steward_trouble(const struct steward *s, const struct steward_view *view);

#endif
