#include "storage/worker_io.h"

#include <bsd/err.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "storage/clock_io.h"

struct queue {
    struct job *first, **last;
};

struct lane {
    struct worker *worker;
    pthread_t thread;
    pthread_cond_t wanted;
    struct queue queue;     /* under the worker's mutex */
    struct histogram times; /* likewise */
    uint64_t late;          /* likewise: a bit for each of the last 64 brief ones, set where it took longer */
    uint32_t steady;        /* likewise: brief ones since the last stall, up to STEADY_JOBS */
    size_t pending;         /* jobs of its thread that are not finished; the loop's own */
};

struct worker {
    pthread_mutex_t mutex;
    struct lane lanes[JOB_LANES];
    struct queue done; /* under the mutex */
    struct job *here;  /* to run on the loop at the end of this turn */
    bool stopping;
    int notify;
    struct event *event;
    void (*finished)(void *arg, struct job *job);
    void *arg;
};

static void push(struct queue *queue, struct job *job) {
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
}

static struct job *pop(struct queue *queue) {
    struct job *job = queue->first;
    if (job != NULL && (queue->first = job->next) == NULL)
        queue->last = &queue->first;
    return job;
}

/* Under the mutex. */
static void note_time(struct lane *lane, bool brief, uint64_t took_us) {
    histogram_add_us(&lane->times, took_us);
    if (!brief)
        return;
    lane->late = lane->late << 1 | (took_us > BRIEF_US);
    lane->steady = took_us > STALL_US ? 0 : lane->steady + (lane->steady < STEADY_JOBS);
}

static void *lane_main(void *arg) {
    struct lane *lane = arg;
    struct worker *worker = lane->worker;
    pthread_mutex_lock(&worker->mutex);
    for (;;) {
        struct job *job = pop(&lane->queue);
        if (job == NULL) {
            if (worker->stopping)
                break;
            pthread_cond_wait(&lane->wanted, &worker->mutex);
            continue;
        }
        pthread_mutex_unlock(&worker->mutex);
        uint64_t before_us = clock_us();
        job->run(job);
        uint64_t took_us = clock_us() - before_us;
        pthread_mutex_lock(&worker->mutex);
        note_time(lane, job->brief, took_us);
        push(&worker->done, job);
        pthread_mutex_unlock(&worker->mutex); /* the loop, awake, would wait for it */
        uint64_t one = 1;
        if (write(worker->notify, &one, sizeof one) != sizeof one)
            err(1, "cannot wake the loop");
        pthread_mutex_lock(&worker->mutex);
    }
    pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

static void deliver(struct worker *worker) {
    for (;;) {
        pthread_mutex_lock(&worker->mutex);
        struct job *job = pop(&worker->done);
        pthread_mutex_unlock(&worker->mutex);
        if (job == NULL)
            return;
        worker->lanes[job->lane].pending--;
        worker->finished(worker->arg, job);
    }
}

static void notified(evutil_socket_t notify, short what, void *arg) {
    uint64_t count;
    (void)what;
    if (read(notify, &count, sizeof count) != sizeof count && errno != EAGAIN)
        err(1, "cannot read from the helper threads");
    deliver(arg);
}

struct worker *worker_new(struct event_base *base, void (*finished)(void *arg, struct job *job), void *arg) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        err(1, "out of memory");
    worker->notify = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->notify < 0) {
        free(worker);
        return NULL;
    }
    worker->finished = finished;
    worker->arg = arg;
    worker->done.last = &worker->done.first;
    pthread_mutex_init(&worker->mutex, NULL);
    worker->event = event_new(base, worker->notify, EV_READ | EV_PERSIST, notified, worker);
    if (worker->event == NULL || event_add(worker->event, NULL) != 0)
        errx(1, "out of memory");
    for (int i = 0; i < JOB_LANES; i++) {
        struct lane *lane = &worker->lanes[i];
        lane->worker = worker;
        lane->queue.last = &lane->queue.first;
        lane->late = UINT64_MAX;
        lane->steady = STEADY_JOBS;
        pthread_cond_init(&lane->wanted, NULL);
        int error = pthread_create(&lane->thread, NULL, lane_main, lane);
        if (error != 0)
            errc(1, error, "cannot start a helper thread");
    }
    return worker;
}

static bool runs_here(struct worker *worker, const struct job *job) {
    struct lane *lane = &worker->lanes[job->lane];
    if (!job->brief || lane->pending > 0 || worker->here != NULL)
        return false;
    pthread_mutex_lock(&worker->mutex);
    bool quick = __builtin_popcountll(lane->late) < 32 && lane->steady == STEADY_JOBS;
    pthread_mutex_unlock(&worker->mutex);
    return quick;
}

void worker_run(struct worker *worker, struct job *job) {
    struct lane *lane = &worker->lanes[job->lane];
    if (runs_here(worker, job)) {
        worker->here = job;
        return;
    }
    lane->pending++;
    pthread_mutex_lock(&worker->mutex);
    push(&lane->queue, job);
    pthread_mutex_unlock(&worker->mutex);
    pthread_cond_signal(&lane->wanted);
}

bool worker_turn(struct worker *worker) {
    struct job *job = worker->here;
    if (job == NULL)
        return false;
    worker->here = NULL;
    uint64_t before_us = clock_us();
    job->run(job);
    uint64_t took_us = clock_us() - before_us;
    pthread_mutex_lock(&worker->mutex);
    note_time(&worker->lanes[job->lane], true, took_us);
    pthread_mutex_unlock(&worker->mutex);
    worker->finished(worker->arg, job);
    return true;
}

void worker_times(struct worker *worker, enum job_lane lane, struct histogram *out) {
    pthread_mutex_lock(&worker->mutex);
    *out = worker->lanes[lane].times;
    pthread_mutex_unlock(&worker->mutex);
}

void worker_free(struct worker *worker) {
    if (worker == NULL)
        return;
    worker_turn(worker);
    pthread_mutex_lock(&worker->mutex);
    worker->stopping = true;
    for (int i = 0; i < JOB_LANES; i++)
        pthread_cond_signal(&worker->lanes[i].wanted);
    pthread_mutex_unlock(&worker->mutex);
    for (int i = 0; i < JOB_LANES; i++) {
        pthread_join(worker->lanes[i].thread, NULL);
        pthread_cond_destroy(&worker->lanes[i].wanted);
    }
    deliver(worker);
    event_free(worker->event);
    close(worker->notify);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}
