/* Where the time of slow requests goes, in milliseconds of the turns in which things were seen. */
#include "api/coordinator_internal.h"

#define MARKS (sizeof((struct marks *)NULL)->ring / sizeof((struct marks *)NULL)->ring[0])

static void mark(struct marks *m, uint64_t index, uint64_t now_ms) {
    uint64_t newest = m->count == 0 ? 0 : m->ring[(m->count - 1) % MARKS].index;
    if (index < newest)
        m->count = 0; /* the log was truncated */
    if (index == newest)
        return;
    m->ring[m->count % MARKS].index = index;
    m->ring[m->count % MARKS].ms = now_ms;
    m->count++;
}

void timing_mark(struct coordinator *c, uint64_t now_ms) {
    c->now_ms = now_ms;
    mark(&c->durable, log_durable(replica_log(c->options.replica)), now_ms);
    mark(&c->committed, raft_commit(coordinator_raft(c)), now_ms);
}

/* When index was passed; now where that was not seen. */
static uint64_t marked_ms(const struct coordinator *c, const struct marks *m, uint64_t index) {
    uint64_t ms = c->now_ms;
    size_t held = m->count < MARKS ? m->count : MARKS;
    for (size_t i = 1; i <= held; i++) {
        size_t at = (m->count - i) % MARKS;
        if (m->ring[at].index < index)
            break;
        ms = m->ring[at].ms;
    }
    return ms;
}

static void know(struct timing *t, enum timing_step step, uint64_t from_ms, uint64_t to_ms) {
    t->known |= 1u << step;
    t->ms[step] = to_ms > from_ms ? (uint32_t)(to_ms - from_ms) : 0;
}

static void write_timing(const struct coordinator *c, const struct pending *p, struct timing *t) {
    uint64_t durable = marked_ms(c, &c->durable, p->at.index);
    uint64_t acknowledged = p->ack == ACK_ASYNC ? durable : marked_ms(c, &c->committed, p->at.index);
    know(t, TIMING_DURABLE, p->stepped_ms, durable);
    if (p->ack != ACK_ASYNC)
        know(t, TIMING_ACKNOWLEDGED, durable, acknowledged);
    know(t, TIMING_ANSWERED, acknowledged > durable ? acknowledged : durable, c->now_ms);
}

struct timing timing_of(const struct coordinator *c, const struct pending *p) {
    struct timing t = {0};
    know(&t, TIMING_WAITED, p->began_ms, p->state == PENDING_WAITING ? c->now_ms : p->stepped_ms);
    switch (p->state) {
    case PENDING_FORWARDED:
        know(&t, TIMING_PASSED_ON, p->stepped_ms, c->now_ms);
        memcpy(t.node, p->asked.id, NODE_ID_SIZE);
        break;
    case PENDING_APPENDED:
    case PENDING_ACKING:
        write_timing(c, p, &t);
        break;
    case PENDING_ASKING:
    case PENDING_APPLYING:
        know(&t, TIMING_CONFIRMED, p->stepped_ms, c->now_ms);
        memcpy(t.node, p->asked.id, NODE_ID_SIZE);
        break;
    case PENDING_CONFIRMING:
    case PENDING_HOLDING:
    case PENDING_AFTER:
    case PENDING_MEMBERS:
        know(&t, TIMING_CONFIRMED, p->stepped_ms, c->now_ms);
        break;
    case PENDING_WAITING:
    case PENDING_STATES:
        break;
    }
    return t;
}
