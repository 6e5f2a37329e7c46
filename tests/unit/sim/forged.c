/* Frames that no correct node sends, from one that is connected and no member: none does lasting damage.
 * (Frames between nodes are not authenticated: who can speak as a node can still disturb.)
 *
 * SIM_SEEDS is the number of seeds of the random part, SIM_SEED the first. */
#include "tests/sim/hostile.h"
#include "tests/unit/sim/asking.h"

#include <stdlib.h>

#include "discovery/announce.h"
#include "storage/random.h"

struct forger {
    struct asking *a;
    struct random random;
    unsigned stranger, sent;
    bool of_none; /* it says that it belongs to no founding */
};

static void send_forged(struct forger *f, unsigned to, const struct message *m) {
    struct sim *sim = f->a->sim;
    struct node *node = sim->machines[f->stranger]->node;
    const struct node_info *victim = node_self(sim->machines[to]->node);
    struct member_id id = {.incarnation = victim->incarnation};
    struct buffer payload = {0};
    memcpy(id.id, victim->id, NODE_ID_SIZE);
    message_encode(&payload, m);
    struct node_info says = *node_self(node);
    says.role = NODE_LEADER;
    if (f->of_none)
        says.group_id = 0;
    peers_update(node_peers(node), &says);
    f->sent +=
        peers_send(node_peers(node), sim->now_us / MS, &id, PEERS_MAIN, FRAME_RAFT, buffer_bytes(&payload));
    buffer_release(&payload);
}

static void forge(struct forger *f, unsigned to) {
    static const uint8_t junk[100];
    struct message m = hostile_message(&f->random, raft_at(f->a, to), (struct bytes){junk, sizeof junk});
    send_forged(f, to, &m);
}

static bool takes_writes(struct asking *a) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end; sim_run(a->sim, 100 * MS))
        for (unsigned i = 0; i < 3; i++)
            if (set(a, i, "k", "v") == 200)
                return true;
    return false;
}

/* Three voters, and a fourth that left. */
static struct forger *forger_new(struct tap *tap, uint64_t seed) {
    struct forger *f = calloc(1, sizeof *f);
    random_seed(&f->random, seed);
    f->a = asking_make(1, 4, seed, ACK_QUORUM);
    f->stranger = 3;
    for (unsigned i = 0; i < 3; i++)
        machine_start(f->a->sim->machines[i]);
    sim_run(f->a->sim, 5 * SECOND);
    machine_start(f->a->sim->machines[3]);
    sim_run(f->a->sim, 2 * SECOND);
    STATUS_IS(f->a, change(f->a, leader_in(f->a, 0), "leave", 3), 200);
    STATUS_IS(f->a, set(f->a, 0, "kept", "v"), 200);
    sim_run(f->a->sim, 2 * SECOND);
    return f;
}

static void forger_free(struct forger *f) {
    asking_free(f->a);
    free(f);
}

/* Each node serves both kinds of reads: a mark of odd has gone. */
static bool all_serve(struct asking *a) {
    bool all = true;
    for (unsigned i = 0; i < 3; i++)
        all = all && get(a, i, "kept", false) == 200 && !raft_unequal(raft_at(a, i));
    return all;
}

static bool comes_to_serve(struct asking *a) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end; sim_run(a->sim, 100 * MS))
        if (all_serve(a))
            return true;
    return false;
}

static void is_well(struct tap *tap, struct forger *f) {
    struct asking *a = f->a;
    for (unsigned again = 0; again < 2; again++) {
        OK(takes_writes(a));
        OK(comes_to_serve(a));
        for (unsigned i = 0; i < 3; i++) {
            STATUS_IS(a, get(a, i, "kept", true), 200);
            enum node_role role = node_self(a->sim->machines[i]->node)->role;
            OK(role == NODE_LEADER || role == NODE_FOLLOWER);
        }
        for (unsigned i = 0; again == 0 && i < 3; i++)
            machine_kill(a->sim->machines[i]);
        for (unsigned i = 0; again == 0 && i < 3; i++)
            OK(machine_start(a->sim->machines[i]));
        sim_run(a->sim, SECOND);
    }
}

TEST(a_strangers_removed_is_believed_by_nobody_who_has_a_leader) {
    struct forger *f = forger_new(tap, 1);
    for (unsigned i = 0; i < 3; i++)
        send_forged(f, i,
                    &(struct message){.type = MESSAGE_REMOVED,
                                      .term = raft_term(raft_at(f->a, i)),
                                      .removed.index = MESSAGE_INDEX_MAX});
    EQUAL(f->sent, 3);
    bool out = false;
    for (unsigned ms = 0; ms < 1000; ms++, sim_run(f->a->sim, MS))
        for (unsigned i = 0; i < 3; i++)
            out |= node_self(f->a->sim->machines[i]->node)->role == NODE_REMOVED;
    OK(!out);
    is_well(tap, f);
    forger_free(f);
}

/* With nobody to lead them they believe it; what it names is beyond everything. */
static void put_out(struct tap *tap, uint64_t seed, unsigned told, uint64_t term_ahead, bool restarted) {
    struct forger *f = forger_new(tap, seed);
    struct sim *sim = f->a->sim;
    unsigned leader = leader_in(f->a, 0);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 3; j++)
            sim->blocked[i][j] = sim->blocked[j][i] = i < 3;
    sim_run(sim, 2 * SECOND);
    for (unsigned i = 0, left = told; i < 3 && left > 0; i++) {
        if (told < 3 && i == leader)
            continue;
        send_forged(f, i,
                    &(struct message){.type = MESSAGE_REMOVED,
                                      .term = raft_term(raft_at(f->a, i)) + term_ahead,
                                      .removed.index = MESSAGE_INDEX_MAX});
        left--;
    }
    EQUAL(f->sent, told);
    sim_run(sim, 100 * MS);
    unsigned out = 0;
    for (unsigned i = 0; i < 3; i++)
        out += node_self(sim->machines[i]->node)->role == NODE_REMOVED;
    EQUAL(out, term_ahead <= 1u << 20 ? told : 0);
    for (unsigned i = 0; restarted && i < 3; i++) {
        machine_kill(sim->machines[i]);
        OK(machine_start(sim->machines[i]));
    }
    machine_kill(sim->machines[3]);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < 3; j++)
            sim->blocked[i][j] = false;
    sim_run(sim, 5 * SECOND);
    is_well(tap, f);
    forger_free(f);
}

TEST(a_forged_removed_puts_nobody_out_for_longer_than_there_is_no_leader) {
    for (unsigned told = 1; told <= 3; told += 2)
        for (unsigned restarted = 0; restarted < 2; restarted++) {
            put_out(tap, 20 + told, told, 0, restarted);
            put_out(tap, 30 + told, told, 1, restarted);
            put_out(tap, 40 + told, told, 1u << 20, restarted);
            put_out(tap, 50 + told, told, MESSAGE_TERM_MAX / 2, restarted);
        }
}

TEST(one_forged_vote_append_or_snapshot_ends_no_group) {
    static const enum message_type types[] = {MESSAGE_VOTE, MESSAGE_APPEND, MESSAGE_SNAPSHOT};
    for (unsigned i = 0; i < 3; i++) {
        struct forger *f = forger_new(tap, 2 + i);
        struct message m = {.type = types[i], .term = MESSAGE_TERM_MAX};
        if (m.type == MESSAGE_VOTE)
            m.vote.transfer = true;
        if (m.type == MESSAGE_SNAPSHOT)
            m.snapshot.at = (struct version){MESSAGE_TERM_MAX, MESSAGE_INDEX_MAX};
        for (unsigned to = 0; to < 3; to++)
            send_forged(f, to, &m);
        sim_run(f->a->sim, 2 * SECOND);
        for (unsigned to = 0; to < 3; to++)
            OK(raft_term(raft_at(f->a, to)) < 10u << 20);
        is_well(tap, f);
        forger_free(f);
    }
}

TEST(a_forged_mark_of_odd_ends_when_the_leader_has_compared) {
    for (unsigned nodes = 1; nodes <= 3; nodes++) {
        struct forger *f = forger_new(tap, 10 + nodes);
        uint64_t installed = f->a->sim->tally.counts[TALLY_SNAPSHOT_INSTALLED];
        struct message m = {.type = MESSAGE_APPEND};
        m.append.odd = UINT64_MAX;
        for (unsigned to = 0; to < nodes; to++) {
            m.term = raft_term(raft_at(f->a, to)) + 1; /* who sends it leads */
            send_forged(f, to, &m);
        }
        unsigned odd = 0;
        for (unsigned i = 0; i < 100 && odd < nodes; i++, sim_run(f->a->sim, MS))
            for (unsigned to = odd = 0; to < nodes; to++)
                odd += raft_odd(raft_at(f->a, to));
        EQUAL(odd, nodes);
        for (unsigned to = 0; to < nodes; to++) { /* over a restart too */
            machine_kill(f->a->sim->machines[to]);
            OK(machine_start(f->a->sim->machines[to]));
        }
        is_well(tap, f);
        EQUAL(f->a->sim->tally.counts[TALLY_SNAPSHOT_INSTALLED], installed); /* nobody needs a copy */
        forger_free(f);
    }
}

/* Chunks of a snapshot that a forged leader announces as larger than what is free, or as nearly as large. */
static void floods(struct tap *tap, uint64_t total, uint64_t sent) {
    static const uint8_t junk[MESSAGE_CHUNK_SIZE];
    struct forger *f = forger_new(tap, 9);
    struct sim_disk *disk = f->a->sim->machines[0]->disk;
    uint64_t before = sim_disk_used(disk), free = 4 * 1024 * 1024, most = before;
    sim_disk_set_capacity(disk, before + free);
    for (uint64_t offset = 0; offset < sent; offset += sizeof junk) {
        uint64_t term = raft_term(raft_at(f->a, 0)) + 1;
        struct message m = {.type = MESSAGE_SNAPSHOT, .term = term};
        m.snapshot.at = (struct version){1, 1ull << 40};
        m.snapshot.total = total;
        m.snapshot.offset = offset;
        m.snapshot.chunk = (struct bytes){junk, total - offset < sizeof junk ? total - offset : sizeof junk};
        send_forged(f, 0, &m);
        sim_run(f->a->sim, 20 * MS);
        most = sim_disk_used(disk) > most ? sim_disk_used(disk) : most;
    }
    OK(total < free ? most > before + sent / 2 : most < before + 512 * 1024);
    OK(takes_writes(f->a));
    sim_run(f->a->sim, 65 * SECOND);
    OK(sim_disk_used(disk) < before + 512 * 1024);
    sim_disk_set_capacity(disk, 0);
    is_well(tap, f);
    forger_free(f);
}

TEST(a_forged_snapshot_takes_no_room_that_the_log_needs_and_none_for_long) {
    floods(tap, MESSAGE_SNAPSHOT_MAX, 8 << 20);
    floods(tap, 4 << 20, 4 << 20);
    floods(tap, 3 << 20, 3 << 20);
    floods(tap, 3 << 20, 2 << 20);
}

/* A vote that would raise the term of whoever takes it for one of its group's. */
static void vote_is_ignored(struct tap *tap, struct forger *f) {
    uint64_t terms[3];
    for (unsigned i = 0; i < 3; i++) {
        terms[i] = raft_term(raft_at(f->a, i));
        send_forged(f, i,
                    &(struct message){.type = MESSAGE_VOTE, .term = terms[i] + 1, .vote.transfer = true});
    }
    EQUAL(f->sent, 3);
    sim_run(f->a->sim, 2 * SECOND);
    for (unsigned i = 0; i < 3; i++)
        EQUAL(raft_term(raft_at(f->a, i)), terms[i]);
}

TEST(what_another_group_or_a_node_without_a_founding_sends_changes_nothing) {
    struct forger *f = calloc(1, sizeof *f);
    f->a = asking_new(2, 3, 1, ACK_QUORUM);
    f->stranger = 3;
    vote_is_ignored(tap, f);
    forger_free(f);
    f = forger_new(tap, 1);
    f->of_none = true;
    vote_is_ignored(tap, f);
    forger_free(f);
}

/* It names a leader of the group at an address that does not answer. */
static void forge_announcement(struct asking *a) {
    struct node *node = a->sim->machines[0]->node;
    struct announce forged = {.kind = ANNOUNCE_HERE, .info = *node_self(node)};
    struct buffer datagram = {0};
    forged.info.role = NODE_LEADER;
    forged.info.group_id = 99;
    forged.info.term = 7;
    memset(forged.info.id, 'z', NODE_ID_SIZE);
    forged.info.peer = network_peer_address(1);
    announce_encode(&datagram, &forged);
    node_datagram(node, machine_ms(a->sim->machines[0]), &forged.info.peer, buffer_bytes(&datagram));
    buffer_release(&datagram);
}

TEST(datagrams_that_name_a_founding_that_is_nowhere_keep_no_node_from_founding_its_group) {
    struct asking *a = asking_make(1, 2, 1, ACK_QUORUM);
    a->sim->blocked[0][1] = a->sim->blocked[1][0] = true;
    machine_start(a->sim->machines[0]);
    for (unsigned i = 0; i < 60; i++) {
        forge_announcement(a);
        sim_run(a->sim, 500 * MS);
    }
    STATUS_IS(a, set(a, 0, "k", "v"), 200);
    asking_free(a);
}

TEST(a_group_lives_through_hundreds_of_forged_messages) {
    const char *first = getenv("SIM_SEED"), *count = getenv("SIM_SEEDS");
    uint64_t from = first != NULL ? strtoull(first, NULL, 10) : 1;
    uint64_t seeds = count != NULL ? strtoull(count, NULL, 10) : 10;
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        struct forger *f = forger_new(tap, seed);
        for (unsigned i = 0; i < 600; i++) {
            forge(f, (unsigned)random_below(&f->random, 3));
            sim_run(f->a->sim, random_below(&f->random, 30) * MS);
        }
        OK(f->sent > 300);
        sim_run(f->a->sim, SECOND);
        is_well(tap, f);
        if (f->a->sim->violation[0] != '\0')
            printf("# seed %llu: %s\n", (unsigned long long)seed, f->a->sim->violation);
        forger_free(f);
    }
}

TESTS(TAP(a_strangers_removed_is_believed_by_nobody_who_has_a_leader),
      TAP(a_forged_removed_puts_nobody_out_for_longer_than_there_is_no_leader),
      TAP(one_forged_vote_append_or_snapshot_ends_no_group),
      TAP(what_another_group_or_a_node_without_a_founding_sends_changes_nothing),
      TAP(a_forged_mark_of_odd_ends_when_the_leader_has_compared),
      TAP(a_forged_snapshot_takes_no_room_that_the_log_needs_and_none_for_long),
      TAP(datagrams_that_name_a_founding_that_is_nowhere_keep_no_node_from_founding_its_group),
      TAP(a_group_lives_through_hundreds_of_forged_messages))
