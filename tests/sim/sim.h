/* The simulator: N whole nodes (cmd/node.h) in one process, under a simulated clock, network and disk.
 *
 * A heap of events ordered by (time, sequence) is all that happens. Each source of chance has its own stream
 * of numbers, so that more of one leaves the others as they were. The same seed gives the same run, which the
 * trace's hash shows.
 *
 *   sim.c      events, streams of chance, the trace
 *   network.c  datagrams and byte streams between machines
 *   machine.c  a machine: its disk, its clock, and the node's process on it, driven as kvnode_io.c drives it
 *   client.c   HTTP clients of a machine's node; request.c: what they send
 *   check*.c   what must hold at every step, and what clients saw
 *   tally.c    how often each situation came up
 *   tiny.h     the bounds of kvsim-tiny
 *   workload.c clients that ask all nodes
 *   chaos.c    one seed: a workload under faults, then healing, progress and agreement
 *   keeper.c   an operator of full ledgers
 *   flip.c     a state that is not what the log gives; flips.c: one seed of them, under faults
 *   script.c   scenarios with an expected trace */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <bsd/sys/queue.h>
#include <stdio.h>

#include "cmd/node.h"
#include "tests/sim/disk.h"
#include "tests/sim/tally.h"

#define MACHINES_MAX 9

#ifdef KVSIM_TINY /* tiny.h */
#define BOUNDS_TINY true
#else
#define BOUNDS_TINY false
#endif

#define MS     1000ull    /* microseconds */
#define SECOND 1000000ull /* microseconds */

struct sim;
struct machine;
struct check;

struct event {
    uint64_t at_us, sequence;
    void (*fire)(struct sim *sim, struct event *event);
    struct machine *machine; /* NULL: nobody's. While the machine's process is paused its events wait */
    uint64_t epoch;          /* of the process: of another one the event is dropped; 0: any */
    uint64_t number;
    void *object;
    uint8_t *data; /* owned */
    size_t size;
};

enum sim_stream {
    STREAM_NETWORK,
    STREAM_DISK,
    STREAM_CLOCK,
    STREAM_WORKLOAD,
    STREAM_FAULTS,
    STREAM_NODES,
    STREAM_FOES, /* the faults of --with flip and --with hostile */
    STREAMS
};

/* What a run looks at only when asked to (kvsim --with), or by its number in --mixed. */
enum sim_with {
    WITH_LEAVE = 1,      /* members are changed by hand while others are down */
    WITH_STUCK_DISK = 2, /* others serve while the disk of one, their leader perhaps, is stuck */
    WITH_LIE = 4,        /* disks that lose a write, or put it elsewhere */
    WITH_FLIP = 8,       /* memory that fails: states that are not what the log gives */
    WITH_HOSTILE = 16,   /* somebody sends frames that no correct node sends */
};

struct sim_options {
    uint64_t seed;
    unsigned with; /* bits of enum sim_with */
    unsigned machines;
    enum ack_mode ack;
    uint8_t voters_max;
    uint32_t sync_interval_ms; /* -fsync; 0: always */
    FILE *trace;               /* NULL: none */
};

/* What the network does; microseconds and chances in 1,000. */
struct weather {
    uint64_t latency_min_us, latency_max_us;
    uint64_t disk_min_us, disk_max_us;
    unsigned datagram_lost, datagram_twice; /* of 1,000 */
    bool split;                             /* byte streams arrive in pieces */
};

struct sim {
    struct sim_options options;
    struct weather weather;
    uint64_t now_us, sequence;
    struct event **heap;
    size_t count, capacity;
    struct random random[STREAMS];
    uint64_t hash; /* of the trace */
    uint64_t fired;
    struct machine *machines[MACHINES_MAX];
    bool blocked[MACHINES_MAX][MACHINES_MAX]; /* [from][to] */
    struct link_list *links;
    struct check *check;
    struct tally tally;
    char violation[512]; /* empty: none */
    bool cuts_armed;     /* some machine's power may go within a turn */
    bool beyond;         /* more may be lost than a group can bear */
    bool unchecked;      /* several foundings: there is not one history */
    /* What nodes say; may be NULL. */
    void (*said)(void *arg, struct machine *m, const char *event, const char *text);
    void *said_arg;
};

struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *sim);

/* An event that the caller fills in further. data is copied. */
struct event *sim_at(struct sim *sim, uint64_t at_us, void (*fire)(struct sim *sim, struct event *event),
                     struct machine *machine);
void event_data(struct event *event, struct bytes data);
void sim_event_free(struct event *event);
/* Puts an event back for a later time. */
void sim_again(struct sim *sim, struct event *event, uint64_t at_us);
/* Fires the next event; false where there is none, or something was violated. */
bool sim_step(struct sim *sim);
void sim_run(struct sim *sim, uint64_t duration_us);

uint64_t sim_below(struct sim *sim, enum sim_stream stream, uint64_t bound);
uint64_t sim_between(struct sim *sim, enum sim_stream stream, uint64_t from, uint64_t to);
bool sim_chance(struct sim *sim, enum sim_stream stream, unsigned of_1000);

static inline void sim_count(struct sim *sim, enum situation situation) {
    sim->tally.counts[situation]++;
}

/* Both go into the hash; note's line also into the trace. */
void sim_mix(struct sim *sim, uint64_t number);
void sim_note(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first one is kept, and ends the run. */
void sim_violated(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* network.c */
struct link_list *network_new(void);
void network_free(struct link_list *links);
void network_datagram(struct machine *from, const struct address *to, struct bytes datagram);
void network_dial(struct machine *from, uint32_t connection, const struct address *to);
void network_write(struct machine *from, uint32_t connection, struct bytes data);
void network_close(struct machine *from, uint32_t connection);
void network_hold(struct machine *from, uint32_t connection, bool held);
/* The process of m is gone; with `told` its kernel closes what it had open. */
void network_gone(struct machine *m, bool told);
/* Both ends of one connection of the machine are closed; false where it has none. */
bool network_reset(struct machine *m);
struct address network_peer_address(unsigned index);
struct address network_api_address(unsigned index);

#endif
