/* Where jobs run: in their lane's thread, or on the loop where nobody would wait for them. */
#include "tests/tap.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <time.h>

#include "storage/worker_io.h"

struct counted {
    struct job job;
    uint64_t takes_us;
    pthread_t thread;
};

struct bench {
    struct event_base *base;
    struct worker *worker;
    unsigned finished;
    struct job *last;
};

static uint64_t clock_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void work(struct job *job) {
    struct counted *c = (struct counted *)job;
    c->thread = pthread_self();
    for (uint64_t end = clock_us() + c->takes_us; c->takes_us > 0 && clock_us() < end;)
        ;
}

static void finished(void *arg, struct job *job) {
    struct bench *b = arg;
    b->finished++;
    b->last = job;
}

static struct bench *bench_new(void) {
    struct bench *b = calloc(1, sizeof *b);
    assert(b != NULL);
    b->base = event_base_new();
    b->worker = worker_new(b->base, finished, b);
    assert(b->worker != NULL);
    return b;
}

static void bench_free(struct bench *b) {
    worker_free(b->worker);
    event_base_free(b->base);
    free(b);
}

/* True where it ran on the loop. */
static bool runs_here(struct bench *b, enum job_lane lane, bool brief, uint64_t takes_us) {
    struct counted c = {.job = {.lane = lane, .brief = brief, .run = work}, .takes_us = takes_us};
    b->last = NULL;
    worker_run(b->worker, &c.job);
    worker_turn(b->worker);
    while (b->last == NULL)
        event_base_loop(b->base, EVLOOP_ONCE);
    assert(b->last == &c.job);
    return pthread_equal(c.thread, pthread_self());
}

static unsigned of_64_here(struct bench *b, uint64_t takes_us) {
    unsigned here = 0;
    for (int i = 0; i < 64; i++)
        here += runs_here(b, JOB_LOG, true, takes_us);
    return here;
}

TEST(a_job_runs_in_a_thread_until_most_of_the_last_brief_ones_were_quick) {
    struct bench *b = bench_new();
    OK(!runs_here(b, JOB_LOG, true, 0));
    of_64_here(b, 0);
    OK(runs_here(b, JOB_LOG, true, 0));
    of_64_here(b, BRIEF_US * 2);
    OK(!runs_here(b, JOB_LOG, true, 0));
    EQUAL(b->finished, 131);
    bench_free(b);
}

TEST(what_is_not_brief_never_runs_on_the_loop) {
    struct bench *b = bench_new();
    of_64_here(b, 0);
    OK(!runs_here(b, JOB_LOG, false, 0));
    OK(!runs_here(b, JOB_BULK, false, 0));
    bench_free(b);
}

TEST(after_a_stall_ten_thousand_jobs_run_in_a_thread) {
    struct bench *b = bench_new();
    of_64_here(b, 0);
    runs_here(b, JOB_LOG, true, STALL_US + 1000);
    of_64_here(b, 0);
    EQUAL(of_64_here(b, 0), 0);
    bench_free(b);
}

TEST(a_job_on_the_loop_runs_at_the_end_of_the_turn_and_counts_in_the_times) {
    struct bench *b = bench_new();
    of_64_here(b, 0);
    struct counted c = {.job = {.lane = JOB_LOG, .brief = true, .run = work}};
    worker_run(b->worker, &c.job);
    EQUAL(b->finished, 64);
    OK(worker_turn(b->worker));
    EQUAL(b->finished, 65);
    OK(!worker_turn(b->worker));
    struct histogram times;
    worker_times(b->worker, JOB_LOG, &times);
    uint64_t count = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        count += times.counts[i];
    EQUAL(count, 65);
    bench_free(b);
}

TEST(jobs_of_a_lane_keep_their_order) {
    struct bench *b = bench_new();
    of_64_here(b, 0);
    struct counted slow = {.job = {.lane = JOB_LOG, .run = work}, .takes_us = 1000},
                   quick = {.job = {.lane = JOB_LOG, .brief = true, .run = work}};
    worker_run(b->worker, &slow.job);
    worker_run(b->worker, &quick.job);
    OK(!worker_turn(b->worker));
    while (b->finished < 66)
        event_base_loop(b->base, EVLOOP_ONCE);
    OK(b->last == &quick.job);
    OK(!pthread_equal(quick.thread, pthread_self()));
    bench_free(b);
}

TEST(the_end_delivers_a_job_that_waits_for_the_end_of_the_turn) {
    struct bench *b = bench_new();
    of_64_here(b, 0);
    struct counted c = {.job = {.lane = JOB_LOG, .brief = true, .run = work}};
    worker_run(b->worker, &c.job);
    worker_free(b->worker);
    EQUAL(b->finished, 65);
    event_base_free(b->base);
    free(b);
}

TESTS(TAP(a_job_runs_in_a_thread_until_most_of_the_last_brief_ones_were_quick),
      TAP(what_is_not_brief_never_runs_on_the_loop), TAP(after_a_stall_ten_thousand_jobs_run_in_a_thread),
      TAP(a_job_on_the_loop_runs_at_the_end_of_the_turn_and_counts_in_the_times),
      TAP(jobs_of_a_lane_keep_their_order), TAP(the_end_delivers_a_job_that_waits_for_the_end_of_the_turn))
