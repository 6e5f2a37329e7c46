/* Rows in one array sorted by id: lookups by bisection, changes by moving the rows behind. A cluster has tens
 * of nodes, and a new one is rare. */
#include "cluster/membership.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

struct membership {
    struct membership_row *rows;
    size_t count, capacity;
    uint64_t unlisted;
};

struct membership *membership_new(void) {
    struct membership *m = calloc(1, sizeof *m);
    if (m == NULL)
        err(1, "out of memory for the table of nodes");
    return m;
}

void membership_free(struct membership *m) {
    if (m == NULL)
        return;
    free(m->rows);
    free(m);
}

/* Where the id is, or where it belongs. */
static size_t position_of(const struct membership *m, const uint8_t id[NODE_ID_SIZE]) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(m->rows[middle].info.id, id, NODE_ID_SIZE) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct membership *m, size_t position, const uint8_t id[NODE_ID_SIZE]) {
    return position < m->count && memcmp(m->rows[position].info.id, id, NODE_ID_SIZE) == 0;
}

static void insert(struct membership *m, size_t position, const struct membership_row *row) {
    if (m->count == m->capacity) {
        m->capacity = m->capacity == 0 ? 16 : m->capacity * 2;
        m->rows = reallocarray(m->rows, m->capacity, sizeof *m->rows);
        if (m->rows == NULL)
            err(1, "out of memory for %zu nodes", m->capacity);
    }
    memmove(m->rows + position + 1, m->rows + position, (m->count - position) * sizeof *m->rows);
    m->rows[position] = *row;
    m->count++;
}

static void take_out(struct membership *m, size_t position) {
    assert(position < m->count);
    m->count--;
    memmove(m->rows + position, m->rows + position + 1, (m->count - position) * sizeof *m->rows);
}

static bool tells_the_same(const struct node_info *a, const struct node_info *b) {
    return a->role == b->role && a->term == b->term && a->group == b->group && a->group_id == b->group_id &&
           a->ring_id == b->ring_id && a->ring_epoch == b->ring_epoch && address_equal(&a->peer, &b->peer) &&
           address_equal(&a->api, &b->api) && strcmp(a->cluster, b->cluster) == 0;
}

enum membership_event membership_heard(struct membership *m, uint64_t now_ms, const struct node_info *info) {
    size_t position = position_of(m, info->id);
    struct membership_row heard = {.info = *info, .state = MEMBERSHIP_ALIVE, .heard_ms = now_ms};
    if (!is_at(m, position, info->id)) {
        if (m->count == MEMBERSHIP_NODES_MAX) {
            m->unlisted++;
            return MEMBERSHIP_NOTHING;
        }
        insert(m, position, &heard);
        return MEMBERSHIP_JOINED;
    }
    struct node_info before = m->rows[position].info;
    m->rows[position] = heard;
    if (!node_info_same_process(&before, info))
        return MEMBERSHIP_RESTARTED;
    return tells_the_same(&before, info) ? MEMBERSHIP_NOTHING : MEMBERSHIP_CHANGED;
}

bool membership_left(struct membership *m, const uint8_t id[NODE_ID_SIZE]) {
    size_t position = position_of(m, id);
    if (!is_at(m, position, id))
        return false;
    take_out(m, position);
    return true;
}

void membership_tick(struct membership *m, uint64_t now_ms,
                     void (*removed)(void *arg, const struct membership_row *row), void *arg) {
    for (size_t i = 0; i < m->count;) {
        struct membership_row *row = &m->rows[i];
        uint64_t silent_ms = now_ms > row->heard_ms ? now_ms - row->heard_ms : 0;
        row->state = silent_ms >= MEMBERSHIP_SUSPECT_MS ? MEMBERSHIP_SUSPECT : MEMBERSHIP_ALIVE;
        if (silent_ms < MEMBERSHIP_REMOVE_MS) {
            i++;
            continue;
        }
        struct membership_row gone = *row;
        take_out(m, i);
        removed(arg, &gone);
    }
}

size_t membership_count(const struct membership *m) {
    return m->count;
}

const struct membership_row *membership_at(const struct membership *m, size_t position) {
    assert(position < m->count);
    return &m->rows[position];
}

const struct membership_row *membership_find(const struct membership *m, const uint8_t id[NODE_ID_SIZE]) {
    size_t position = position_of(m, id);
    return is_at(m, position, id) ? &m->rows[position] : NULL;
}

uint64_t membership_unlisted(const struct membership *m) {
    return m->unlisted;
}
