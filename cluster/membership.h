/* The table of nodes heard of, by id: what `GET /cluster` lists. Hints only; a group's log decides who votes.
 *
 * A node is alive while it is heard, suspect after suspect_ms of silence, and removed after remove_ms.
 * Another session or incarnation of an id replaces the row. A farewell removes it at once. */
#ifndef CLUSTER_MEMBERSHIP_H
#define CLUSTER_MEMBERSHIP_H

#include "cluster/node_info.h"

#define MEMBERSHIP_NODES_MAX  1024  /* rows; further nodes are not listed, and counted */
#define MEMBERSHIP_SUSPECT_MS 12000 /* two announcements missed */
#define MEMBERSHIP_REMOVE_MS  30000

enum membership_state { MEMBERSHIP_ALIVE, MEMBERSHIP_SUSPECT };

struct membership_row {
    struct node_info info;
    enum membership_state state;
    uint64_t heard_ms;
};

enum membership_event { MEMBERSHIP_NOTHING, MEMBERSHIP_JOINED, MEMBERSHIP_CHANGED, MEMBERSHIP_RESTARTED };

struct membership;

struct membership *membership_new(void);
void membership_free(struct membership *m);
/* What hearing it changed. MEMBERSHIP_CHANGED: role, term, group, address. */
enum membership_event membership_heard(struct membership *m, uint64_t now_ms, const struct node_info *info);
/* True when a row went. */
bool membership_left(struct membership *m, const uint8_t id[NODE_ID_SIZE]);
/* Ages the table; calls removed for each row that goes. */
void membership_tick(struct membership *m, uint64_t now_ms,
                     void (*removed)(void *arg, const struct membership_row *row), void *arg);
/* Rows in order of id, borrowed until the next heard, left or tick. */
size_t membership_count(const struct membership *m);
const struct membership_row *membership_at(const struct membership *m, size_t position);
const struct membership_row *membership_find(const struct membership *m, const uint8_t id[NODE_ID_SIZE]);
/* How often a node was heard that found no room. */
uint64_t membership_unlisted(const struct membership *m);

#endif
