/* Memory that fails, and hostile peers: faults that are drawn only where the run asks for them, from a stream
 * of chance of their own, so that all other seeds stay what they are. */
#include "tests/sim/chaos_internal.h"
#include "tests/sim/flip.h"
#include "tests/sim/hostile.h"

#define RECORDS_MAX (16 * 1024)

static uint64_t below(struct chaos *c, uint64_t bound) {
    return sim_below(c->sim, STREAM_FOES, bound);
}

static struct machine *any(struct chaos *c) {
    return c->sim->machines[below(c, c->sim->options.machines)];
}

/* Two voters that differ can only tell: nobody knows which is right. */
static bool is_one_of_two(const struct chaos *c, const struct machine *m) {
    unsigned count = 0;
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        count += c->sim->machines[i]->group == m->group;
    return count < 3;
}

/* A state that is wrong is lost until a copy has replaced it: fewer than a majority at a time. */
static void flip(struct chaos *c) {
    struct machine *m = any(c);
    char value[32];
    snprintf(value, sizeof value, "%llu", (unsigned long long)below(c, 3));
    if (c->places[m->index].flipped || is_one_of_two(c, m) || !damage_bearable(c, m) || !flip_state(m, value))
        return;
    c->places[m->index].flipped = true;
    damage_lost(c, m);
    c->result->faults[FAULT_FLIP]++;
}

/* A majority of its group's voters run with the state that it has. */
static bool most_agree_with(const struct chaos *c, const struct machine *m) {
    const struct configuration *configuration = machine_configuration(m);
    size_t alike = 0;
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        for (unsigned j = 0; j < c->sim->options.machines && (member->role & VOTERS_NEW); j++) {
            const struct machine *other = c->sim->machines[j];
            alike += other->node != NULL && memcmp(other->id, member->id.id, NODE_ID_SIZE) == 0 &&
                     other->incarnation == member->id.incarnation && flipped_alike(m, other);
        }
    }
    return 2 * alike > configuration_voters_in(configuration, VOTERS_NEW);
}

bool foes_undecided(const struct chaos *c, const struct machine *m) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *other = c->sim->machines[i];
        if (other->node != NULL && other->group == m->group && most_agree_with(c, other))
            return false;
    }
    return true;
}

/* A copy of a state that was flipped is one too, until a majority has it. */
void foes_recovered(struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        if (m->node != NULL)
            c->places[i].flipped = raft_odd(replica_raft_view(node_replica(m->node))) ||
                                   (is_flipped(m) && !most_agree_with(c, m));
    }
}

/* What another node of the group has in its log, from somewhere on. */
static struct bytes real_records(struct chaos *c, const struct machine *victim) {
    const struct machine *m = any(c);
    struct bytes records = {NULL, 0};
    uint64_t last;
    if (m->node == NULL || m->group != victim->group || node_state(m->node) == NODE_FAILED)
        return records;
    struct log *log = (struct log *)(uintptr_t)replica_log(node_replica(m->node));
    uint64_t first = log_first(log), end = log_last(log);
    if (end < first ||
        log_slice(log, end - below(c, end - first + 1), RECORDS_MAX, &records, &last) != LOG_OK)
        records.size = 0;
    return records;
}

/* Who sends it says that it is a member, or a node that nobody knows. */
static struct member_id sender(struct chaos *c, const struct machine *victim, bool member) {
    struct member_id id = {.incarnation = 1 + below(c, 1000)};
    const struct configuration *configuration =
        raft_configuration(replica_raft_view(node_replica(victim->node)));
    if (member && configuration->count > 0)
        return configuration->members[below(c, configuration->count)].id;
    memset(id.id, '-', sizeof id.id);
    id.id[0] = (uint8_t)('a' + below(c, 4));
    return id;
}

/* As long as nodes have no keys, who says that he leads a term is followed, and may have records appended,
 * truncated and committed (PROTOCOL.md, "Connections"): no log could be judged after that. */
static void spare_log(struct message *message, const struct replica *victim) {
    const struct raft *raft = replica_raft_view(victim);
    uint64_t commit = raft_commit(raft), index = message->snapshot.at.index, term;
    if (message->type == MESSAGE_SNAPSHOT) { /* up to where it ends, a log that has its end is committed */
        bool there = log_term_at(replica_log(victim), index, &term) && term == message->snapshot.at.term;
        if (there && index > commit)
            message->snapshot.at.index = commit;
    }
    if (message->type != MESSAGE_APPEND || message->term < raft_term(raft))
        return;
    message->append.records.size = 0;
    if (message->append.commit > commit)
        message->append.commit = commit;
}

/* A mark of odd puts a node out of service until a leader has compared its state: as long as that lasts it is
 * counted as lost, and none is forged where a majority would be. */
static void spare_majority(const struct chaos *c, const struct machine *victim, struct message *message) {
    if (damage_bearable(c, victim))
        return;
    if (message->type == MESSAGE_APPEND)
        message->append.odd = 0;
    else if (message->type == MESSAGE_SNAPSHOT)
        message->snapshot.odd = 0;
}

static void note_mark(struct chaos *c, const struct machine *victim) {
    if (raft_odd(replica_raft_view(node_replica(victim->node))))
        c->places[victim->index].lost = c->places[victim->index].flipped = true;
}

static void forge(struct chaos *c) {
    struct machine *m = any(c);
    if (m->node == NULL || m->paused || node_state(m->node) == NODE_FAILED || machine_is_dark(m))
        return;
    if (node_self(m->node)->group_id ==
        0) /* hears only its own group's nodes, at addresses that it has dialled */
        return;
    struct bytes records = real_records(c, m);
    const struct raft *raft = replica_raft_view(node_replica(m->node));
    struct message message = hostile_message(&c->sim->random[STREAM_FOES], raft, records), taken;
    struct member_id from = sender(c, m, false);
    struct buffer payload = {0};
    spare_log(&message, node_replica(m->node));
    spare_majority(c, m, &message);
    message_encode(&payload, &message);
    if (message.type <= MESSAGE_TIMEOUT_NOW && message_decode(buffer_bytes(&payload), &taken)) {
        sim_count(c->sim, TALLY_FORGED);
        replica_receive(node_replica(m->node), machine_ms(m), (int64_t)machine_ms(m), &from, &taken);
        note_mark(c, m);
        machine_touch(m);
    }
    buffer_release(&payload);
}

static void hostile(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    uint64_t left = event->number;
    (void)sim;
    sim_event_free(event);
    if (c->healed || left == 0)
        return;
    forge(c);
    chaos_later(c, below(c, 60) * MS, hostile)->number = left - 1;
}

static void next_foe(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    sim_event_free(event);
    if (c->healed)
        return;
    if ((sim->options.with & WITH_FLIP) && !c->calm && below(c, 2) == 0)
        flip(c);
    if ((sim->options.with & WITH_HOSTILE) && !c->calm && below(c, 3) == 0) {
        c->result->faults[FAULT_HOSTILE]++;
        sim_note(sim, "somebody forges frames");
        chaos_later(c, 0, hostile)->number = 1 + below(c, 100);
    }
    chaos_later(c, (200 + below(c, 3000)) * MS, next_foe);
}

void foes_begin(struct chaos *c) {
    if (c->sim->options.with & (WITH_FLIP | WITH_HOSTILE))
        chaos_later(c, (1000 + below(c, 2000)) * MS, next_foe);
}
