/* Frames that no correct node sends: a message of any type, each field by itself something near what it
 * should be, or extreme. */
#ifndef TESTS_SIM_HOSTILE_H
#define TESTS_SIM_HOSTILE_H

#include "replication/raft.h"
#include "storage/random.h"

/* For a victim in this state. records: what an append may carry, whole; they may be empty. */
struct message hostile_message(struct random *random, const struct raft *victim, struct bytes records);

#endif
