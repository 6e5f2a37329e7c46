/* What a request is told that needs the group's leader, or a majority, while there is none: which voters are
 * missing, and what to do. Where the links show that no majority can come together it is told at once; an
 * election that may succeed is waited for. */
#include "api/coordinator_internal.h"

static struct health_view health_now(struct coordinator *c, uint64_t now_ms) {
    struct health_view view = {.ready = true, .reason = "", .fix = ""};
    if (c->host.health != NULL)
        c->host.health(c->host.arg, now_ms, &view);
    return view;
}

static void explain_health(const struct health_view *view, struct reply *reply) {
    if (view->ready && !view->hopeless)
        return;
    reply->message = bytes_of(view->reason);
    reply->fix = bytes_of(view->fix);
}

struct reply reply_no_leader(struct coordinator *c, uint64_t now_ms, enum error error,
                             const char *otherwise) {
    struct reply reply = reply_error(c, error, otherwise);
    struct health_view view = health_now(c, now_ms);
    explain_health(&view, &reply);
    return reply;
}

void pending_no_leader(struct coordinator *c, struct pending *p, enum error error, const char *otherwise) {
    struct reply reply = reply_no_leader(c, c->now_ms, error, otherwise);
    pending_answer(c, p, &reply);
}

/* The own group decides it, as far as is known, and nothing of it is under way. What a leader without a
 * majority is asked about members has answers of its own. */
static bool waits_in_vain(const struct coordinator *c, const struct pending *p) {
    if (p->state == PENDING_MEMBERS)
        return !coordinator_is_leader(c) && p->at.index == 0 && p->asked.incarnation == 0;
    return c->ring == NULL || owner_of_group(c, p->group) == OWNER_HERE;
}

static void give_up(struct coordinator *c, enum pending_state state, const struct health_view *view) {
    enum error error = coordinator_is_leader(c) ? ERROR_NO_MAJORITY : ERROR_NO_LEADER;
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[state], link, next)
    if (waits_in_vain(c, p)) {
        struct reply reply = reply_error(c, error, "");
        explain_health(view, &reply);
        pending_answer(c, p, &reply);
    }
}

void no_leader_poll(struct coordinator *c, uint64_t now_ms) {
    static const enum pending_state states[] = {PENDING_WAITING, PENDING_CONFIRMING, PENDING_HOLDING,
                                                PENDING_MEMBERS};
    bool any = false;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        any = any || !TAILQ_EMPTY(&c->states[states[i]]);
    if (!any)
        return;
    struct health_view view = health_now(c, now_ms);
    for (size_t i = 0; view.hopeless && i < sizeof states / sizeof states[0]; i++)
        give_up(c, states[i], &view);
}
