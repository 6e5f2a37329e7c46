#include "tests/sim/hostile.h"

static bool flag(struct random *random) {
    return random_below(random, 2) != 0;
}

static uint64_t any_number(struct random *random, uint64_t near) {
    static const uint64_t extremes[] = {0,
                                        1,
                                        1ull << 20,
                                        MESSAGE_SNAPSHOT_MAX,
                                        MESSAGE_INDEX_MAX,
                                        MESSAGE_TERM_MAX,
                                        INT64_MAX,
                                        UINT64_MAX - 1,
                                        UINT64_MAX};
    if (flag(random))
        return near + random_below(random, 5) - 2;
    return extremes[random_below(random, sizeof extremes / sizeof extremes[0])];
}

static struct version any_version(struct random *random, const struct raft *victim) {
    return (struct version){any_number(random, raft_term(victim)), any_number(random, raft_commit(victim))};
}

static void forge_append(struct message *m, struct random *random, const struct raft *victim,
                         struct bytes records) {
    uint64_t commit = raft_commit(victim);
    m->append.previous = any_version(random, victim);
    m->append.commit = any_number(random, commit);
    m->append.read = any_number(random, commit);
    m->append.echo = (struct proof){any_number(random, commit), any_number(random, commit)};
    m->append.alone = flag(random);
    m->append.unequal = flag(random);
    m->append.agrees = flag(random);
    m->append.compare = any_number(random, commit);
    m->append.odd = any_number(random, 2);
    if (flag(random))
        m->append.records = records;
}

static void forge_append_reply(struct message *m, struct random *random, const struct raft *victim) {
    uint64_t commit = raft_commit(victim);
    m->append_reply.success = flag(random);
    m->append_reply.match = any_number(random, commit);
    m->append_reply.durable = any_number(random, commit);
    m->append_reply.read = any_number(random, commit);
    m->append_reply.asked = any_number(random, commit);
    m->append_reply.hint = any_version(random, victim);
    m->append_reply.last = any_number(random, commit);
    m->append_reply.compared = any_number(random, commit);
    m->append_reply.digest = any_number(random, 2);
    m->append_reply.odd = any_number(random, 2);
}

static void forge_snapshot(struct message *m, struct random *random, const struct raft *victim) {
    static const uint8_t junk[100];
    m->snapshot.at = any_version(random, victim);
    m->snapshot.total = flag(random) ? sizeof junk : any_number(random, sizeof junk);
    m->snapshot.offset = flag(random) ? 0 : any_number(random, sizeof junk);
    m->snapshot.odd = any_number(random, 2);
    m->snapshot.chunk = (struct bytes){junk, sizeof junk};
}

struct message hostile_message(struct random *random, const struct raft *victim, struct bytes records) {
    struct message m = {.type = 1 + (enum message_type)random_below(random, MESSAGE_REMOVED)};
    uint64_t commit = raft_commit(victim);
    m.term = any_number(random, raft_term(victim));
    switch (m.type) {
    case MESSAGE_VOTE:
        m.vote.last = any_version(random, victim);
        m.vote.pre = flag(random);
        m.vote.transfer = flag(random);
        break;
    case MESSAGE_VOTE_REPLY:
        m.vote_reply.granted = flag(random);
        m.vote_reply.pre = flag(random);
        break;
    case MESSAGE_APPEND:
        forge_append(&m, random, victim, records);
        break;
    case MESSAGE_APPEND_REPLY:
        forge_append_reply(&m, random, victim);
        break;
    case MESSAGE_SNAPSHOT:
        forge_snapshot(&m, random, victim);
        break;
    case MESSAGE_SNAPSHOT_REPLY:
        m.snapshot_reply.at = any_version(random, victim);
        m.snapshot_reply.offset = any_number(random, commit);
        m.snapshot_reply.odd = any_number(random, 2);
        m.snapshot_reply.installed = flag(random);
        m.snapshot_reply.refused = flag(random);
        break;
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_INDEX_REPLY:
        m.read_index.id = any_number(random, 2);
        m.read_index.ok = flag(random);
        m.read_index.index = any_number(random, commit);
        break;
    case MESSAGE_REMOVED:
        m.removed.index = any_number(random, commit);
        break;
    case MESSAGE_TIMEOUT_NOW:
        break;
    }
    return m;
}
