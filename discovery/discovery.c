#include "discovery/discovery.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define ANNOUNCE_GAP_MS 100 /* between two announcements, and between two answers to one source */
#define BURST_COUNT     3   /* ANNOUNCE_NEW at the start */
#define BURST_GAP_MS    300
#define ANSWERED_MAX    32 /* sources remembered, so also the most answers within ANNOUNCE_GAP_MS */
#define FOREIGN_MAX     64
/* Where broadcast does not reach they are met by dials alone, twice a minute. */
#define FOREIGN_REMOVE_MS 90000
#define AGEING_MS         1000 /* how often the tables are looked at while there is something in them */

struct answered {
    struct address source;
    uint64_t at_ms;
};

struct foreign {
    struct node_info info;
    uint64_t heard_ms;
};

struct discovery {
    struct discovery_host host;
    struct node_info self;
    bool broadcast, started;
    struct random random;
    struct membership *membership;
    struct discovery_counters counters;
    struct buffer scratch;

    unsigned burst_left;       /* ANNOUNCE_NEW still to be sent */
    uint64_t announced_ms;     /* when the last one left */
    uint64_t announce_next_ms; /* when the next is due */
    uint64_t age_next_ms;

    struct answered answered[ANSWERED_MAX];
    size_t answered_count;
    struct foreign foreign[FOREIGN_MAX];
    size_t foreign_count;
};

struct discovery *discovery_new(const struct discovery_host *host, const struct node_info *self,
                                bool broadcast, uint64_t seed) {
    struct discovery *d = calloc(1, sizeof *d);
    if (d == NULL)
        err(1, "out of memory for discovery");
    d->host = *host;
    d->self = *self;
    d->broadcast = broadcast;
    random_seed(&d->random, seed);
    d->membership = membership_new();
    d->announce_next_ms = d->age_next_ms = UINT64_MAX;
    return d;
}

void discovery_free(struct discovery *d) {
    if (d == NULL)
        return;
    membership_free(d->membership);
    buffer_release(&d->scratch);
    free(d);
}

static struct bytes encode(struct discovery *d, enum announce_kind kind) {
    struct announce announce = {.kind = kind, .info = d->self};
    buffer_clear(&d->scratch);
    announce_encode(&d->scratch, &announce);
    return buffer_bytes(&d->scratch);
}

static void send(struct discovery *d, const struct address *to, struct bytes datagram) {
    d->counters.sent++;
    d->host.send(d->host.arg, to, datagram);
}

static uint64_t interval(struct discovery *d) {
    uint64_t jitter = DISCOVERY_INTERVAL_MS / 10;
    return DISCOVERY_INTERVAL_MS - jitter + random_below(&d->random, 2 * jitter);
}

static void announce(struct discovery *d, uint64_t now_ms) {
    bool first = d->burst_left > 0;
    if (first)
        d->burst_left--;
    send(d, NULL, encode(d, first ? ANNOUNCE_NEW : ANNOUNCE_HERE));
    d->announced_ms = now_ms;
    uint64_t gap = d->burst_left > 0 ? BURST_GAP_MS + random_below(&d->random, ANNOUNCE_GAP_MS) : interval(d);
    d->announce_next_ms = now_ms + gap;
}

void discovery_start(struct discovery *d, uint64_t now_ms) {
    d->started = true;
    if (!d->broadcast)
        return;
    d->burst_left = BURST_COUNT;
    announce(d, now_ms);
}

void discovery_update(struct discovery *d, uint64_t now_ms, const struct node_info *self) {
    const struct node_info before = d->self;
    d->self = *self;
    bool same = before.role == self->role && before.term == self->term && before.group == self->group &&
                before.group_id == self->group_id && before.bootstraps == self->bootstraps &&
                address_equal(&before.peer, &self->peer) && address_equal(&before.api, &self->api);
    if (same || !d->started || !d->broadcast)
        return;
    uint64_t earliest_ms = d->announced_ms + ANNOUNCE_GAP_MS;
    if (now_ms >= earliest_ms)
        announce(d, now_ms);
    else if (earliest_ms < d->announce_next_ms)
        d->announce_next_ms = earliest_ms;
}

/* True at most once a source and gap, and for at most ANSWERED_MAX sources within one. */
static bool may_answer(struct discovery *d, uint64_t now_ms, const struct address *source) {
    struct answered *free_slot = NULL;
    for (size_t i = 0; i < d->answered_count; i++) {
        struct answered *known = &d->answered[i];
        bool recent = now_ms < known->at_ms + ANNOUNCE_GAP_MS;
        if (recent && address_equal(&known->source, source))
            return false;
        if (!recent)
            free_slot = known;
    }
    if (free_slot == NULL && d->answered_count < ANSWERED_MAX)
        free_slot = &d->answered[d->answered_count++];
    if (free_slot == NULL)
        return false;
    *free_slot = (struct answered){.source = *source, .at_ms = now_ms};
    return true;
}

static void answer(struct discovery *d, uint64_t now_ms, const struct address *source, size_t asked_with) {
    struct bytes datagram = encode(d, ANNOUNCE_ANSWER);
    if (datagram.size <= asked_with && may_answer(d, now_ms, source))
        send(d, source, datagram);
}

static bool same_foreigner(const struct foreign *known, const struct node_info *info) {
    return memcmp(known->info.id, info->id, NODE_ID_SIZE) == 0 &&
           strcmp(known->info.cluster, info->cluster) == 0;
}

static void note_foreign(struct discovery *d, uint64_t now_ms, const struct node_info *info, bool left) {
    size_t i = 0;
    while (i < d->foreign_count && !same_foreigner(&d->foreign[i], info))
        i++;
    if (left) {
        if (i < d->foreign_count)
            d->foreign[i] = d->foreign[--d->foreign_count];
        return;
    }
    bool known = i < d->foreign_count;
    if (i == FOREIGN_MAX)
        return;
    d->foreign_count += !known;
    d->foreign[i] = (struct foreign){.info = *info, .heard_ms = now_ms};
    if (!known)
        d->host.foreign(d->host.arg, info);
}

static void age_at_latest(struct discovery *d, uint64_t at_ms) {
    if (at_ms < d->age_next_ms)
        d->age_next_ms = at_ms;
}

static void leave(struct discovery *d, const struct node_info *info) {
    const struct membership_row *row = membership_find(d->membership, info->id);
    /* A farewell that was overtaken by the node's next start says nothing about that one. */
    if (row == NULL || !node_info_same_process(&row->info, info))
        return;
    struct node_info gone = row->info;
    membership_left(d->membership, gone.id);
    d->host.removed(d->host.arg, &gone);
}

static void hear(struct discovery *d, uint64_t now_ms, const struct node_info *info,
                 const struct address *source) {
    if (node_info_same_process(info, &d->self))
        return;
    age_at_latest(d, now_ms + AGEING_MS);
    if (strcmp(info->cluster, d->self.cluster) != 0) {
        note_foreign(d, now_ms, info, false);
        return;
    }
    enum membership_event event = MEMBERSHIP_NOTHING;
    if (memcmp(info->id, d->self.id, NODE_ID_SIZE) != 0)
        event = membership_heard(d->membership, now_ms, info);
    d->host.heard(d->host.arg, info, event, source);
}

void discovery_heard(struct discovery *d, uint64_t now_ms, const struct node_info *info) {
    hear(d, now_ms, info, NULL);
}

static void count(struct discovery_counters *counters, enum announce_result result) {
    counters->received++;
    counters->garbage += result == ANNOUNCE_GARBAGE;
    counters->oversized += result == ANNOUNCE_OVERSIZED;
    counters->version += result == ANNOUNCE_VERSION;
    counters->corrupt += result == ANNOUNCE_CORRUPT;
}

void discovery_datagram(struct discovery *d, uint64_t now_ms, const struct address *from,
                        struct bytes datagram) {
    if (!d->broadcast)
        return;
    struct announce heard;
    enum announce_result result = announce_decode(datagram, &heard);
    count(&d->counters, result);
    if (result == ANNOUNCE_VERSION && d->counters.version == 1)
        d->host.version(d->host.arg, from);
    if (result != ANNOUNCE_OK)
        return;
    if (node_info_same_process(&heard.info, &d->self)) {
        d->counters.own++;
        return;
    }
    bool foreign = strcmp(heard.info.cluster, d->self.cluster) != 0;
    d->counters.foreign += foreign;
    if (heard.kind == ANNOUNCE_LEAVE) {
        if (foreign)
            note_foreign(d, now_ms, &heard.info, true);
        else
            leave(d, &heard.info);
        return;
    }
    if (heard.kind == ANNOUNCE_NEW)
        answer(d, now_ms, from, datagram.size);
    hear(d, now_ms, &heard.info, from);
}

void discovery_leave(struct discovery *d) {
    if (!d->started || !d->broadcast)
        return;
    send(d, NULL, encode(d, ANNOUNCE_LEAVE));
    d->announce_next_ms = UINT64_MAX;
    d->started = false;
}

static void removed(void *arg, const struct membership_row *row) {
    struct discovery *d = arg;
    d->host.removed(d->host.arg, &row->info);
}

static void age(struct discovery *d, uint64_t now_ms) {
    membership_tick(d->membership, now_ms, removed, d);
    for (size_t i = 0; i < d->foreign_count;) {
        if (now_ms >= d->foreign[i].heard_ms + FOREIGN_REMOVE_MS)
            d->foreign[i] = d->foreign[--d->foreign_count];
        else
            i++;
    }
    bool empty = membership_count(d->membership) == 0 && d->foreign_count == 0;
    d->age_next_ms = empty ? UINT64_MAX : now_ms + AGEING_MS;
}

uint64_t discovery_tick(struct discovery *d, uint64_t now_ms) {
    if (now_ms >= d->announce_next_ms)
        announce(d, now_ms);
    if (now_ms >= d->age_next_ms)
        age(d, now_ms);
    return d->announce_next_ms < d->age_next_ms ? d->announce_next_ms : d->age_next_ms;
}

const struct membership *discovery_membership(const struct discovery *d) {
    return d->membership;
}

struct discovery_counters discovery_counters(const struct discovery *d) {
    return d->counters;
}

size_t discovery_foreign_count(const struct discovery *d) {
    return d->foreign_count;
}

const struct node_info *discovery_foreign_at(const struct discovery *d, size_t position) {
    assert(position < d->foreign_count);
    return &d->foreign[position].info;
}
