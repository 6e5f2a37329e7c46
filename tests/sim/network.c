/* Datagrams are lost, repeated and overtake each other; byte streams arrive in order, in any pieces, and
 * late.
 *
 * A stream has two ends, each a process and the number by which its peers core knows it. Each direction is a
 * queue of pieces and at most one pump event. While the way is blocked the pump tries again, as TCP does.
 * What arrives for a process that is gone resets the other end, if the machine's kernel is there to say so.
 */
#include <assert.h>
#include <err.h>
#include <stdlib.h>

#include "tests/sim/machine.h"

#define RETRY_MIN_US  (20 * MS)
#define RETRY_MAX_US  (200 * MS)
#define DIAL_LIMIT_US (2 * SECOND) /* before an address that does not answer is given up */
#define PIECES_MAX    4
#define SOURCE_PORT   50000

struct piece {
    TAILQ_ENTRY(piece) next;
    uint64_t ready_us;
    bool end; /* the stream's end */
    size_t size;
    uint8_t data[];
};

struct link_end {
    struct machine *machine;
    uint64_t epoch;
    uint32_t number;
    bool open; /* the process there has it */
    bool held; /* the process does not read from it */
    /* What is on its way to this end. */
    TAILQ_HEAD(, piece) incoming;
    size_t incoming_size;
    uint64_t last_us;
    bool pumping;
};

struct link {
    LIST_ENTRY(link) next;
    struct link_end ends[2];
    bool connected;  /* the dialler has been told */
    unsigned events; /* under way that name it */
};

struct link_list {
    LIST_HEAD(, link) head;
};

struct address network_peer_address(unsigned index) {
    return (struct address){.family = 4, .ip = {10, 0, 0, (uint8_t)(index + 1)}, .port = 8000};
}

struct address network_api_address(unsigned index) {
    return (struct address){.family = 4, .ip = {10, 0, 0, (uint8_t)(index + 1)}, .port = 9000};
}

static struct machine *machine_of(struct sim *sim, const struct address *address) {
    unsigned index = (unsigned)address->ip[3] - 1;
    return address->ip[0] == 10 && index < sim->options.machines ? sim->machines[index] : NULL;
}

static uint64_t latency(struct sim *sim) {
    return sim_between(sim, STREAM_NETWORK, sim->weather.latency_min_us, sim->weather.latency_max_us);
}

static bool blocked(const struct machine *from, const struct machine *to) {
    return from->sim->blocked[from->index][to->index];
}

/* Datagrams. */

static void datagram_arrives(struct sim *sim, struct event *event) {
    struct machine *to = event->machine;
    struct address from = network_peer_address((unsigned)event->number);
    from.port = (uint16_t)(SOURCE_PORT + event->number);
    (void)sim;
    node_datagram(to->node, machine_ms(to), &from, (struct bytes){event->data, event->size});
    machine_touch(to);
    sim_event_free(event);
}

static void send_datagram(struct machine *from, struct machine *to, struct bytes datagram) {
    struct sim *sim = from->sim;
    if (to->node == NULL || blocked(from, to) || sim_chance(sim, STREAM_NETWORK, sim->weather.datagram_lost))
        return;
    unsigned copies = 1 + sim_chance(sim, STREAM_NETWORK, sim->weather.datagram_twice);
    while (copies-- > 0) {
        struct event *event = machine_at(to, sim->now_us + latency(sim), datagram_arrives);
        event->number = from->index;
        event_data(event, datagram);
    }
}

void network_datagram(struct machine *from, const struct address *to, struct bytes datagram) {
    struct sim *sim = from->sim;
    if (machine_is_dark(from))
        return;
    if (to != NULL) {
        struct machine *m = machine_of(sim, to);
        if (m != NULL)
            send_datagram(from, m, datagram);
        return;
    }
    for (unsigned i = 0; i < sim->options.machines; i++)
        send_datagram(from, sim->machines[i], datagram);
}

/* Streams. */

struct link_list *network_new(void) {
    struct link_list *links = calloc(1, sizeof *links);
    if (links == NULL)
        err(1, "out of memory");
    LIST_INIT(&links->head);
    return links;
}

static void end_clear(struct link_end *end) {
    struct piece *piece;
    while ((piece = TAILQ_FIRST(&end->incoming)) != NULL) {
        TAILQ_REMOVE(&end->incoming, piece, next);
        free(piece);
    }
    end->incoming_size = 0;
}

static void link_free(struct link *link) {
    LIST_REMOVE(link, next);
    end_clear(&link->ends[0]);
    end_clear(&link->ends[1]);
    free(link);
}

void network_free(struct link_list *links) {
    struct link *link;
    while ((link = LIST_FIRST(&links->head)) != NULL)
        link_free(link);
    free(links);
}

static struct event *link_event(struct link *link, uint64_t at_us,
                                void (*fire)(struct sim *sim, struct event *event)) {
    struct event *event = sim_at(link->ends[0].machine->sim, at_us, fire, NULL);
    event->object = link;
    link->events++;
    return event;
}

static void link_event_free(struct event *event) {
    ((struct link *)event->object)->events--;
    sim_event_free(event);
}

static void free_dead(struct link_list *links) {
    struct link *link, *next;
    LIST_FOREACH_SAFE(link, &links->head, next, next)
    if (!link->ends[0].open && !link->ends[1].open && link->events == 0)
        link_free(link);
}

static struct link *find(struct machine *m, uint32_t number, unsigned *end) {
    struct link *link;
    LIST_FOREACH(link, &m->sim->links->head, next) {
        for (*end = 0; *end < 2; ++*end) {
            const struct link_end *e = &link->ends[*end];
            if (e->open && e->machine == m && e->epoch == m->epoch && e->number == number)
                return link;
        }
    }
    return NULL;
}

static void tell_unsent(const struct link *link, unsigned to, bool taken) {
    const struct link_end *sender = &link->ends[1 - to];
    if (sender->open && sender->machine->node != NULL)
        peers_unsent(node_peers(sender->machine->node), sender->number, link->ends[to].incoming_size, taken);
}

/* The stream ended for the process at this end. */
static void end_closed(struct link *link, unsigned which) {
    struct link_end *end = &link->ends[which];
    if (!end->open)
        return;
    end->open = false;
    peers_closed(node_peers(end->machine->node), machine_ms(end->machine), end->number, PEERS_CLOSED);
    machine_touch(end->machine);
}

static void queue(struct link *link, unsigned to, struct bytes data, bool last);

static void deliver(struct link *link, unsigned to, struct piece *piece) {
    struct link_end *end = &link->ends[to];
    struct machine *m = end->machine;
    if (!end->open) { /* reset, where somebody is there to say so */
        if (m->power && link->ends[1 - to].open && !piece->end)
            queue(link, 1 - to, (struct bytes){NULL, 0}, true);
    } else if (piece->end) {
        end_closed(link, to);
    } else {
        peers_received(node_peers(m->node), machine_ms(m), end->number,
                       (struct bytes){piece->data, piece->size});
        machine_touch(m);
    }
}

static void pump(struct sim *sim, struct event *event) {
    struct link *link = event->object;
    unsigned to = (unsigned)event->number;
    struct link_end *end = &link->ends[to];
    struct piece *piece;
    if ((end->open && (end->machine->paused || end->held)) || (to == 0 && !link->connected)) {
        sim_again(sim, event, sim->now_us + 10 * MS);
        return;
    }
    if (blocked(link->ends[1 - to].machine, end->machine) && TAILQ_FIRST(&end->incoming) != NULL) {
        sim_again(sim, event, sim->now_us + sim_between(sim, STREAM_NETWORK, RETRY_MIN_US, RETRY_MAX_US));
        return;
    }
    while ((piece = TAILQ_FIRST(&end->incoming)) != NULL && piece->ready_us <= sim->now_us) {
        TAILQ_REMOVE(&end->incoming, piece, next);
        end->incoming_size -= piece->size;
        deliver(link, to, piece);
        free(piece);
    }
    tell_unsent(link, to, true);
    if (piece != NULL) {
        sim_again(sim, event, piece->ready_us);
        return;
    }
    end->pumping = false;
    link_event_free(event);
}

static void append(struct link *link, unsigned to, struct bytes data, bool last) {
    struct sim *sim = link->ends[0].machine->sim;
    struct link_end *end = &link->ends[to];
    struct piece *piece = malloc(sizeof *piece + data.size);
    if (piece == NULL)
        err(1, "out of memory");
    piece->end = last;
    piece->size = data.size;
    if (data.size > 0)
        memcpy(piece->data, data.data, data.size);
    piece->ready_us = sim->now_us + latency(sim);
    if (piece->ready_us < end->last_us)
        piece->ready_us = end->last_us;
    end->last_us = piece->ready_us;
    end->incoming_size += data.size;
    TAILQ_INSERT_TAIL(&end->incoming, piece, next);
    if (end->pumping)
        return;
    end->pumping = true;
    link_event(link, piece->ready_us, pump)->number = to;
}

static void queue(struct link *link, unsigned to, struct bytes data, bool last) {
    struct sim *sim = link->ends[0].machine->sim;
    for (unsigned i = 1; sim->weather.split && i < PIECES_MAX && data.size > 1; i++) {
        size_t size = 1 + (size_t)sim_below(sim, STREAM_NETWORK, data.size - 1);
        append(link, to, (struct bytes){data.data, size}, false);
        data.data += size;
        data.size -= size;
    }
    append(link, to, data, last);
}

void network_write(struct machine *from, uint32_t connection, struct bytes data) {
    unsigned end;
    struct link *link = find(from, connection, &end);
    if (link == NULL || data.size == 0 || machine_is_dark(from))
        return;
    queue(link, 1 - end, data, false);
    tell_unsent(link, 1 - end, false);
}

void network_hold(struct machine *from, uint32_t connection, bool held) {
    unsigned end;
    struct link *link = find(from, connection, &end);
    if (link != NULL)
        link->ends[end].held = held;
}

static void close_end(struct link *link, unsigned end, bool told) {
    link->ends[end].open = false;
    if (told && link->ends[1 - end].open && link->ends[1 - end].number != 0)
        queue(link, 1 - end, (struct bytes){NULL, 0}, true);
}

void network_close(struct machine *from, uint32_t connection) {
    unsigned end;
    struct link *link = find(from, connection, &end);
    if (link != NULL)
        close_end(link, end, !machine_is_dark(from));
}

void network_gone(struct machine *m, bool told) {
    struct link *link;
    LIST_FOREACH(link, &m->sim->links->head, next)
    for (unsigned end = 0; end < 2; end++)
        if (link->ends[end].open && link->ends[end].machine == m)
            close_end(link, end, told);
}

bool network_reset(struct machine *m) {
    struct link *link;
    LIST_FOREACH(link, &m->sim->links->head, next) {
        if (!link->ends[0].open || !link->ends[1].open ||
            (link->ends[0].machine != m && link->ends[1].machine != m))
            continue;
        end_clear(&link->ends[0]);
        end_clear(&link->ends[1]);
        queue(link, 0, (struct bytes){NULL, 0}, true);
        queue(link, 1, (struct bytes){NULL, 0}, true);
        return true;
    }
    return false;
}

/* Dialling. The link's second end has no number before the other process has accepted. */

static void dial_failed(struct sim *sim, struct event *event) {
    struct link *link = event->object;
    struct link_end *end = &link->ends[0];
    (void)sim;
    if (end->open && end->epoch == end->machine->epoch) {
        end->open = false;
        peers_closed(node_peers(end->machine->node), machine_ms(end->machine), end->number,
                     (enum peers_close)event->number);
        machine_touch(end->machine);
    }
    end->open = false;
    link_event_free(event);
}

static void connected(struct sim *sim, struct event *event) {
    struct link *link = event->object;
    struct link_end *end = &link->ends[0];
    if (end->open && end->machine->paused) {
        sim_again(sim, event, sim->now_us + 10 * MS);
        return;
    }
    link->connected = true;
    if (end->open) {
        peers_connected(node_peers(end->machine->node), machine_ms(end->machine), end->number);
        machine_touch(end->machine);
    } else if (link->ends[1].open) { /* it was given up meanwhile */
        queue(link, 1, (struct bytes){NULL, 0}, true);
    }
    link_event_free(event);
}

static void accept_dial(struct link *link) {
    struct link_end *end = &link->ends[1];
    struct machine *m = end->machine, *from = link->ends[0].machine;
    struct address address = network_peer_address(from->index);
    address.port = (uint16_t)(30000 + link->ends[0].number % 20000);
    struct peers *peers = node_peers(m->node);
    end->epoch = m->epoch;
    end->number = peers_next_number(peers);
    end->open = true;
    link_event(link, m->sim->now_us + latency(m->sim), connected);
    peers_accepted(peers, machine_ms(m), end->number, &address);
    machine_touch(m);
}

static void dial_ends(struct link *link, uint64_t delay_us, enum peers_close why) {
    struct sim *sim = link->ends[0].machine->sim;
    link_event(link, sim->now_us + delay_us, dial_failed)->number = why;
}

static void dial_arrives(struct sim *sim, struct event *event) {
    struct link *link = event->object;
    struct machine *from = link->ends[0].machine, *to = link->ends[1].machine;
    if (!to->power || blocked(from, to) || blocked(to, from)) {
        dial_ends(link, DIAL_LIMIT_US, PEERS_UNREACHABLE);
    } else if (to->node == NULL) {
        dial_ends(link, latency(sim), PEERS_CONNECT_REFUSED);
    } else if (to->paused) {
        sim_again(sim, event, sim->now_us + 10 * MS);
        return;
    } else {
        accept_dial(link);
    }
    link_event_free(event);
}

void network_dial(struct machine *from, uint32_t connection, const struct address *to) {
    struct sim *sim = from->sim;
    struct machine *target = machine_of(sim, to);
    free_dead(sim->links);
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        err(1, "out of memory");
    TAILQ_INIT(&link->ends[0].incoming);
    TAILQ_INIT(&link->ends[1].incoming);
    link->ends[0].machine = from;
    link->ends[0].epoch = from->epoch;
    link->ends[0].number = connection;
    link->ends[0].open = true;
    link->ends[1].machine = target != NULL ? target : from;
    LIST_INSERT_HEAD(&sim->links->head, link, next);
    assert(target != NULL);
    link_event(link, sim->now_us + latency(sim), dial_arrives);
}
