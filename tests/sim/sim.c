#include "tests/sim/sim.h"

#include <assert.h>
#include <err.h>
#include <stdarg.h>
#include <stdlib.h>

#include "tests/sim/check.h"
#include "tests/sim/machine.h"

#define FNV_BASIS 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

/* The heap. */

static bool earlier(const struct event *a, const struct event *b) {
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

static void swap(struct sim *sim, size_t a, size_t b) {
    struct event *event = sim->heap[a];
    sim->heap[a] = sim->heap[b];
    sim->heap[b] = event;
}

static void push(struct sim *sim, struct event *event) {
    if (sim->count == sim->capacity) {
        sim->capacity = sim->capacity * 2 + 64;
        sim->heap = reallocarray(sim->heap, sim->capacity, sizeof(struct event *));
        if (sim->heap == NULL)
            err(1, "out of memory");
    }
    size_t at = sim->count++;
    sim->heap[at] = event;
    for (; at > 0 && earlier(sim->heap[at], sim->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(sim, at, (at - 1) / 2);
}

static struct event *pop(struct sim *sim) {
    struct event *first = sim->heap[0];
    sim->heap[0] = sim->heap[--sim->count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < sim->count && earlier(sim->heap[child], sim->heap[least]))
                least = child;
        if (least == at)
            return first;
        swap(sim, at, least);
        at = least;
    }
}

struct event *sim_at(struct sim *sim, uint64_t at_us, void (*fire)(struct sim *sim, struct event *event),
                     struct machine *machine) {
    struct event *event = calloc(1, sizeof *event);
    if (event == NULL)
        err(1, "out of memory");
    *event = (struct event){.fire = fire, .machine = machine};
    sim_again(sim, event, at_us);
    return event;
}

void sim_again(struct sim *sim, struct event *event, uint64_t at_us) {
    event->at_us = at_us < sim->now_us ? sim->now_us : at_us;
    event->sequence = ++sim->sequence;
    push(sim, event);
}

void event_data(struct event *event, struct bytes data) {
    event->data = malloc(data.size + 1);
    if (event->data == NULL)
        err(1, "out of memory");
    memcpy(event->data, data.data, data.size);
    event->size = data.size;
}

void sim_event_free(struct event *event) {
    free(event->data);
    free(event);
}

/* Chance and trace. */

uint64_t sim_below(struct sim *sim, enum sim_stream stream, uint64_t bound) {
    return random_below(&sim->random[stream], bound);
}

uint64_t sim_between(struct sim *sim, enum sim_stream stream, uint64_t from, uint64_t to) {
    return from >= to ? from : from + sim_below(sim, stream, to - from + 1);
}

bool sim_chance(struct sim *sim, enum sim_stream stream, unsigned of_1000) {
    return of_1000 > 0 && sim_below(sim, stream, 1000) < of_1000;
}

void sim_mix(struct sim *sim, uint64_t number) {
    sim->hash = (sim->hash ^ number) * FNV_PRIME;
    sim->hash ^= sim->hash >> 29;
}

void sim_note(struct sim *sim, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (const char *c = text; *c != '\0'; c++)
        sim_mix(sim, (uint8_t)*c);
    if (sim->options.trace != NULL)
        fprintf(sim->options.trace, "%10.3f ms  %s\n", (double)sim->now_us / 1000, text);
}

void sim_violated(struct sim *sim, const char *format, ...) {
    if (sim->violation[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->violation, sizeof sim->violation, format, arguments);
    va_end(arguments);
    sim_note(sim, "VIOLATED: %s", sim->violation);
}

/* Life. */

struct sim *sim_new(const struct sim_options *options) {
    struct sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        err(1, "out of memory");
    assert(options->machines <= MACHINES_MAX);
    sim->options = *options;
    sim->hash = FNV_BASIS;
    sim->weather = (struct weather){
        .latency_min_us = 100, .latency_max_us = 400, .disk_min_us = 200, .disk_max_us = 2000};
    for (unsigned i = 0; i < STREAM_FOES; i++)
        random_seed(&sim->random[i], options->seed * STREAM_FOES + i);
    random_seed(&sim->random[STREAM_FOES], ~options->seed);
    sim->links = network_new();
    sim->check = check_new(sim);
    for (unsigned i = 0; i < options->machines; i++)
        sim->machines[i] = machine_new(sim, i);
    return sim;
}

void sim_free(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines; i++)
        machine_free(sim->machines[i]);
    for (size_t i = 0; i < sim->count; i++)
        sim_event_free(sim->heap[i]);
    network_free(sim->links);
    check_free(sim->check);
    free(sim->heap);
    free(sim);
}

static void end_dark(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines; i++)
        if (machine_is_dark(sim->machines[i]))
            machine_end_dark(sim->machines[i]);
}

bool sim_step(struct sim *sim) {
    if (sim->count == 0 || sim->violation[0] != '\0')
        return false;
    struct event *event = pop(sim);
    struct machine *m = event->machine;
    assert(event->at_us >= sim->now_us);
    sim->now_us = event->at_us;
    if (m != NULL && event->epoch != 0 && event->epoch != m->epoch) {
        sim_event_free(event);
        return true;
    }
    if (m != NULL && m->paused && event->epoch != 0) {
        machine_defer(m, event);
        return true;
    }
    sim->fired++;
    sim_mix(sim, event->at_us);
    sim_mix(sim, event->number + event->size * 31 + (m != NULL ? m->index + 1 : 0));
    event->fire(sim, event);
    if (sim->cuts_armed)
        end_dark(sim);
    return true;
}

void sim_run(struct sim *sim, uint64_t duration_us) {
    uint64_t end = sim->now_us + duration_us;
    while (sim->count > 0 && sim->heap[0]->at_us <= end && sim_step(sim))
        ;
    if (sim->violation[0] == '\0' && sim->now_us < end)
        sim->now_us = end;
}
