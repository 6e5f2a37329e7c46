/* A machine: a disk that outlives processes, a clock of its own rate, and at most one process, the node.
 *
 * The process is driven as cmd/kvnode_io.c drives it: events, then node_turn, then clients' answers. Jobs run
 * one after the other in each lane after a delay. It can end in five ways: killed (the kernel closes its
 * connections and the disk keeps what was written), by a power cut (nobody is told, and the disk forgets what
 * was not synced), by a clean stop, by starting over, and by itself because the disk failed. */
#ifndef TESTS_SIM_MACHINE_H
#define TESTS_SIM_MACHINE_H

#include "tests/sim/sim.h"

struct client;
TAILQ_HEAD(client_list, client);

struct machine {
    struct sim *sim;
    unsigned index;
    uint32_t group;
    struct sim_disk *disk;
    unsigned disk_of;  /* the machine whose node's directory it holds, or a copy of it */
    struct node *node; /* NULL: no process */
    uint8_t id[NODE_ID_SIZE];
    uint64_t incarnation; /* of the node that was started last */
    uint64_t epoch;       /* of the process; new at every start and end */
    bool power;           /* its kernel runs */
    bool paused;
    uint64_t resumed_us; /* when its process last went on after a pause; 0 never */
    uint64_t leapt_us;   /* when its clock last leapt ahead; 0 never */
    bool leader_flag, memory, broadcast;
    bool leads_again, again;  /* while it is opened after starting over */
    bool named[MACHINES_MAX]; /* -peers */
    enum route_policy route;
    uint32_t segment_size;
    uint64_t snapshot_log_size;
    uint64_t scrub_rest_ms; /* 0: the replica's default, longer than most runs */
    uint64_t rate_ppm;      /* of its clock: 1,000,000 is true time */
    uint64_t clock_base_ms, clock_from_us;
    int64_t wall_ms;      /* its calendar is so far off */
    uint64_t disk_factor; /* its jobs take so many times longer */
    bool disk_stuck;      /* they do not end */
    uint64_t turn_us;     /* when the next turn is due; UINT64_MAX: none */
    uint64_t turn_number;
    struct job *jobs[JOB_LANES], **jobs_end[JOB_LANES];
    struct event **deferred;
    size_t deferred_count, deferred_capacity;
    struct client_list clients;
    unsigned starts, failures;
    bool may_fail; /* a fault of its disk is on: the process may end by itself */
    char last_failure[256];
    bool said_ledger_damaged;                             /* since its process was started */
    bool mended_at_stop;                                  /* a snapshot took the place of a segment there */
    struct configuration ended_in_force, ended_committed; /* by its last process; count 0: none */

    /* check.c's */
    uint64_t checked_commit, checked_applied, checked_term;
    uint64_t asked, answered; /* HTTP requests of the process */
    bool passed_undo;         /* at the end of its last turn */
    uint64_t undo_floor;      /* likewise */
};

struct machine *machine_new(struct sim *sim, unsigned index);
void machine_free(struct machine *m);

/* False where the node refuses the directory; then last_failure says why. */
bool machine_start(struct machine *m);
void machine_kill(struct machine *m);
void machine_power_cut(struct machine *m);
/* The power goes after so many more operations of its disk, be it within a turn. */
void machine_power_cut_after(struct machine *m, uint64_t operations);
/* It went so: what the process does now is not seen by anybody. */
bool machine_is_dark(const struct machine *m);
/* Ends such a process. */
void machine_end_dark(struct machine *m);
void machine_power_on(struct machine *m);
void machine_stop(struct machine *m); /* clean; ends some turns later */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);
/* An empty disk; no process runs. */
void machine_wipe(struct machine *m);
/* A copy of the other's disk, as it is; no process runs. */
void machine_clone(struct machine *m, const struct machine *from);
/* Its clock leaps ahead, as after a suspend, and its calendar moves. */
void machine_clock_jump(struct machine *m, uint64_t ahead_ms, int64_t calendar_ms);

/* What its node goes by, or what the last one went by that ran on its disk; count 0: none. */
const struct configuration *machine_configuration(const struct machine *m);
const struct configuration *machine_committed(const struct machine *m);

uint64_t machine_ms(const struct machine *m);
/* The process has something to do: a turn comes soon. */
void machine_touch(struct machine *m);
void machine_defer(struct machine *m, struct event *event);
/* An event of this process. */
struct event *machine_at(struct machine *m, uint64_t at_us,
                         void (*fire)(struct sim *sim, struct event *event));

#endif
