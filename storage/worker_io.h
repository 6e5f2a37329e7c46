/* Runs jobs (storage/job.h): a helper thread a lane, each with a queue; what is done comes back on the loop.
 *
 * A thread costs two wake-ups and two switches a job, as much as a quick disk's sync itself. So a brief job
 * runs on the loop while most of the last 64 took less than BRIEF_US and none of the last STEADY_JOBS more
 * than STALL_US: then nobody waits for it noticeably. On any other disk reads and heartbeats go on meanwhile.
 */
#ifndef STORAGE_WORKER_IO_H
#define STORAGE_WORKER_IO_H

#include <stdbool.h>

#include "storage/histogram.h"
#include "storage/job.h"

#define BRIEF_US    300
#define STALL_US    20000
#define STEADY_JOBS 10000

struct event_base;
struct worker;

/* `finished` is called on the loop for each job whose run has returned; it calls the job's done. NULL where
 * no thread or descriptor can be had, with errno set. */
struct worker *worker_new(struct event_base *base, void (*finished)(void *arg, struct job *job), void *arg);
void worker_run(struct worker *worker, struct job *job);
/* End of a turn, when all of it is sent: runs what is to run on the loop. True when there was something. */
bool worker_turn(struct worker *worker);
/* How long the jobs of a lane took to run, in microseconds. */
void worker_times(struct worker *worker, enum job_lane lane, struct histogram *out);
/* Runs what is queued to its end, delivers it, and stops the threads. */
void worker_free(struct worker *worker);

#endif
