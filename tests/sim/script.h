/* Scenarios of whole nodes: commands at the start of a line, the trace that each gave indented below it.
 *
 *     nodes N [async|quorum|all]  N machines; nothing runs yet
 *     small-logs                  segments of 64 KiB, a snapshot at every 64 KiB of log
 *     no-broadcast                nobody hears datagrams; nodes know the one named by `peers`
 *     unchecked                   the group is founded more than once: nodes are not compared
 *     peers N M                   N has M in its -peers
 *     start N [leader]            starts node N, with -leader; `start *` all that do not run
 *     run TIME                    500ms, 2s
 *     settle                      until all that run agree and one of them leads, 15 s at most
 *     set N KEY=VALUE [ACK]       a client writes through node N and waits for the answer
 *     get N KEY, read N KEY       a default, a linearizable read
 *     fill N COUNT SIZE           writes of so many bytes, one after the other
 *     kill N, power N, stop N     the process ends: killed, by a power cut, cleanly; `*` all
 *     pause N, resume N
 *     wipe N                      an empty disk; the node does not run
 *     partition 1 2 | 3           bytes pass within the parts only
 *     heal
 *     show                        each node's role, term, commit, keys, voters and members
 *     ledger N                    the rows of its ledger of rejected writes
 *
 * Of what nodes say, the events that decide something are in the trace. */
#ifndef TESTS_SIM_SCRIPT_H
#define TESTS_SIM_SCRIPT_H

#include <stdbool.h>
#include <stdio.h>

/* Writes the scenario with the traces that its commands give now. False for a line that is no command. */
bool script_run(FILE *in, FILE *out);

#endif
