/* Requests that were passed on to another node: on their way, answered, or given up.
 *
 * A write is passed on once. Only where the other node says that it did not take it, surely without effect,
 * does it look for its leader again; whoever breaks off without a word leaves its outcome unknown. A read may
 * be passed on as often as need be. */
#include <stdio.h>

#include "api/coordinator_internal.h"

/* A leader that is asked gives up so much earlier: its answer, with the position, still comes. */
#define MARGIN_MS 100
/* A read that gets no answer is tried elsewhere: first after so long, then after twice that, and so on, so
 * that few are under way where all are merely slow. */
#define SILENT_MS 500
/* A leader that handed over or was deposed may still answer for so long after another one leads: it learns
 * what became of the write. One that hangs does not. */
#define GRACE_MS 500

void pending_refresh(struct coordinator *c, struct pending *p) {
    uint64_t left = p->deadline_ms > c->now_ms ? p->deadline_ms - c->now_ms : 0;
    left -= left > 10 * MARGIN_MS ? MARGIN_MS : left / 10;
    put_u32(p->copy.data + p->copy.start + REQUEST_TIME_LEFT_AT, (uint32_t)left);
}

bool pending_send(struct coordinator *c, struct pending *p) {
    pending_refresh(c, p);
    if (!c->host.request(c->host.arg, &p->asked, buffer_bytes(&p->copy)))
        return false;
    p->routed = false;
    pending_passed(c, p, &p->asked, raft_term(coordinator_raft(c)));
    return true;
}

void pending_passed(struct coordinator *c, struct pending *p, const struct member_id *to, uint64_t term) {
    p->asked = *to;
    p->sent_term = term;
    p->gone_ms = 0;
    p->sent_ms = c->now_ms;
    p->sent++;
    pending_move(c, p, PENDING_FORWARDED);
}

void coordinator_replied(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                         struct bytes payload) {
    struct reply reply;
    struct pending *p;
    uint64_t id;
    c->now_ms = now_ms;
    if (!reply_decode(payload, &id, &reply))
        return;
    TAILQ_FOREACH(p, &c->states[PENDING_FORWARDED], link)
    if (p->number == id && member_id_equal(&p->asked, from))
        break;
    if (p == NULL)
        return;
    if (reply.error != ERROR_NOT_LEADER)
        pending_answer(c, p, &reply);
    else if (operation_of_members(p->operation))
        members_again(c, p);
    else
        pending_move(c, p, PENDING_WAITING);
}

void coordinator_link_down(struct coordinator *c, uint64_t now_ms, const struct member_id *peer) {
    struct pending *p, *next;
    c->now_ms = now_ms;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_FORWARDED], link, next) {
        if (!member_id_equal(&p->asked, peer))
            continue;
        if (p->operation == OPERATION_NODES)
            members_again(c, p);
        else if (operation_writes(p->operation) || operation_of_members(p->operation))
            pending_unknown(c, p,
                            "the connection to the node that it was passed on to broke before it answered");
        else
            pending_move(c, p, PENDING_WAITING);
    }
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_ASKING], link, next)
    if (member_id_equal(&p->asked, peer))
        pending_move(c, p, PENDING_WAITING);
}

/* Whoever was asked may hang: its connection takes seconds to be given up. */
static bool is_overdue(const struct pending *p, uint64_t now_ms) {
    unsigned doubled = p->sent - 1 < 8 ? p->sent - 1 : 8;
    return p->routed && now_ms - p->sent_ms >= (uint64_t)SILENT_MS << doubled;
}

/* Somebody leads p's group in a later term than the one that was asked. */
static bool other_leads(const struct coordinator *c, const struct pending *p, struct member_id *leader) {
    uint64_t term;
    if (p->routed)
        return leader_hinted(c, p->group, leader, &term) && term > p->sent_term;
    const struct raft *raft = coordinator_raft(c);
    return raft_term(raft) > p->sent_term && raft_leader(raft, leader);
}

/* True where the leader that was asked has had its time. */
static bool is_gone(struct pending *p, uint64_t now_ms) {
    if (p->gone_ms == 0)
        p->gone_ms = now_ms;
    return now_ms - p->gone_ms >= GRACE_MS;
}

static void give_up(struct coordinator *c, struct pending *p, const struct member_id *leader) {
    char text[120];
    snprintf(text, sizeof text, "node %.*s, which led, did not answer, and node %.*s leads now", NODE_ID_SIZE,
             (const char *)p->asked.id, NODE_ID_SIZE, (const char *)leader->id);
    pending_unknown(c, p, text);
}

static void look_at(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct member_id leader;
    bool other = other_leads(c, p, &leader);
    bool may_act = operation_writes(p->operation) ||
                   (operation_of_members(p->operation) && p->operation != OPERATION_NODES);
    if (may_act && other && is_gone(p, now_ms))
        give_up(c, p, &leader);
    else if (!may_act && other && p->operation == OPERATION_NODES)
        members_again(c, p);
    else if (!may_act && (other || is_overdue(p, now_ms)))
        pending_move(c, p, PENDING_WAITING);
}

void passed_poll(struct coordinator *c, uint64_t now_ms) {
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_FORWARDED], link, next)
    look_at(c, now_ms, p);
}
