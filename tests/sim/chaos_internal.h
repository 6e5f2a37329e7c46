/* What the parts of a seed share. */
#ifndef TESTS_SIM_CHAOS_INTERNAL_H
#define TESTS_SIM_CHAOS_INTERNAL_H

#include "tests/sim/chaos.h"
#include "tests/sim/keeper.h"
#include "tests/sim/workload.h"

struct chaos;

/* A machine, as the faults see it. */
struct place {
    uint64_t return_us; /* it is down: when it is started again; 0: not settled */
    bool refused;       /* its node does not start on what is there */
    bool lost;          /* it has lost what it had, and does not vote again yet */
    bool latent;        /* its node has not been started since the damage */
    bool broken;        /* kept so, while the others must serve */
    bool flipped;       /* its state is not the one that a majority has, or it was told so */
};

struct probe {
    struct chaos *chaos;
    struct client client;
    size_t op;
    unsigned machine, asked; /* asked: another one, where that one names who leads instead */
    bool wanted, done;
};

struct chaos {
    struct sim *sim;
    struct chaos_result *result;
    struct workload *workload;
    uint64_t allowed; /* bits of enum fault */
    unsigned per_group;
    bool beyond; /* more may be lost than a group can bear */
    bool calm;   /* no new faults */
    bool healed;
    bool probe_reads;   /* a linearizable read is enough */
    uint64_t end_us;    /* of the faults */
    unsigned long_left; /* how many more that last long */
    struct place places[MACHINES_MAX];
    struct client operator;
    bool leaves; /* what the operator asks for takes a member from its group */
    struct keeper keeper;
    struct probe probes[MACHINES_MAX];
};

static inline uint64_t chaos_below(struct chaos *c, uint64_t bound) {
    return sim_below(c->sim, STREAM_FAULTS, bound);
}
/* An event of the chaos; its object is c. */
struct event *chaos_later(struct chaos *c, uint64_t delay_us,
                          void (*fire)(struct sim *sim, struct event *event));

/* faults.c */
void faults_begin(struct chaos *c);
/* All but what is kept broken is as it should be; every process runs. */
void faults_lift(struct chaos *c);
/* Starts a node that does not run; an operator empties the directory of one that refuses. */
void faults_bring_up(struct chaos *c, struct machine *m);
/* A machine that leads its group, or any. */
struct machine *faults_victim(struct chaos *c);
void faults_change_members(struct chaos *c, const struct machine *m);

/* damage.c */
/* The machine's group bears it that the machine loses what it had. */
bool damage_bearable(const struct chaos *c, const struct machine *m);
void damage_lost(struct chaos *c, struct machine *m);
/* Who votes again after a loss has not lost any more. */
void damage_recovered(struct chaos *c);
void damage_strike(struct chaos *c, struct machine *m);
void damage_lie(struct chaos *c, struct machine *m);
void damage_wipe(struct chaos *c, struct machine *m);
void damage_clone(struct chaos *c, struct machine *m);

/* foes.c */
void foes_begin(struct chaos *c);
/* Whose state is flipped now: one that was may have been replaced, or copied to another. */
void foes_recovered(struct chaos *c);
/* The voters of the machine's group have so many states that no majority has the same. That is where flips
 * have gone from one to another by a copy; nobody can mend it then, and every node has to say so. */
bool foes_undecided(const struct chaos *c, const struct machine *m);

/* liveness.c */
void liveness_phase(struct chaos *c);
/* Every node that is wanted takes a write, or with probe_reads serves a read, within the limit. */
void liveness_demand(struct chaos *c, uint64_t limit_us, const char *what);
/* What the nodes are at, for the trace. */
void liveness_note(const struct chaos *c);
void liveness_free(struct chaos *c);

#endif
