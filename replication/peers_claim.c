/* Whoever bears our own id.
 *
 * A copied data directory makes two processes of one node, and one must end: the later. But anybody can say
 * an id. Each directory therefore holds a secret that never leaves it; the two ask each other for a code of
 *
 *     nonce, the prover's session and uptime, the asker's session and uptime
 *
 * under it. Only a copy can give that, and not by passing the question on to the node that asks, whose own
 * session would stand in the place of the other's. The uptimes are those of the two hellos on this
 * connection, so that both agree on who is the later. */
#include "replication/peers_core.h"

static uint64_t proof_of(struct peers *p, uint64_t nonce, const uint64_t prover[2], const uint64_t asker[2]) {
    struct buffer claim = {0};
    write_u64(&claim, nonce);
    for (int i = 0; i < 2; i++)
        write_u64(&claim, prover[i]);
    for (int i = 0; i < 2; i++)
        write_u64(&claim, asker[i]);
    uint64_t proof = p->host.prove(p->host.arg, buffer_bytes(&claim));
    buffer_release(&claim);
    return proof;
}

static void claim_say(struct peers *p, struct connection *c, uint8_t type, uint64_t value) {
    uint8_t bytes[sizeof value];
    put_u64(bytes, value);
    connection_frame(p, c, type, (struct bytes){bytes, sizeof bytes});
}

void claim_begin(struct peers *p, uint64_t now_ms, struct connection *c) {
    connection_enter(p, now_ms, c, CLAIMED);
    c->nonce = random_next(&p->random);
    claim_say(p, c, FRAME_PROVE, c->nonce);
}

static bool other_is_later(const struct peers *p, const struct connection *c) {
    if (c->their_uptime_ms != c->uptime_ms)
        return c->their_uptime_ms < c->uptime_ms;
    return c->peer.info.session > p->self.session;
}

bool claim_frame(struct peers *p, uint64_t now_ms, struct connection *c, uint8_t type, uint64_t value) {
    const uint64_t ours[2] = {p->self.session, c->uptime_ms};
    const uint64_t theirs[2] = {c->peer.info.session, c->their_uptime_ms};
    if (type == FRAME_PROVE) {
        if (c->asked) {
            connection_close(p, now_ms, c);
            return false;
        }
        c->asked = true;
        claim_say(p, c, FRAME_PROOF, proof_of(p, value, ours, theirs));
        return true;
    }
    bool proved = value == proof_of(p, c->nonce, theirs, ours);
    greet_report(p, now_ms, c, proved ? REFUSED_DUPLICATE : REFUSED_IMPOSTOR, true);
    if ((proved || c->dialled) && !other_is_later(p, c))
        p->host.duplicate(p->host.arg, c->dialled ? &c->at : &c->peer.info.peer, proved);
    /* Left open for a moment, so that the other gets its own proof. */
    greet_linger(p, now_ms, c);
    dial_refused(p, now_ms, c, REFUSED_DUPLICATE);
    return true;
}

void claim_overdue(struct peers *p, uint64_t now_ms, struct connection *c) {
    greet_report(p, now_ms, c, REFUSED_IMPOSTOR, true);
    dial_refused(p, now_ms, c, REFUSED_IMPOSTOR);
    connection_close(p, now_ms, c);
}
