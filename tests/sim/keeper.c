#include "tests/sim/keeper.h"

#include "tests/sim/check.h"

#define LOOK_US (500 * MS)

static bool needs_room(const struct machine *m) {
    if (m->node == NULL || m->paused || node_state(m->node) != NODE_RUNNING)
        return false;
    const struct ledger *ledger = replica_ledger(node_replica(m->node));
    return ledger_full(ledger) && ledger_count(ledger) > 0;
}

static void drop_first(struct keeper *k, struct machine *m) {
    const struct ledger_row *row = ledger_at(replica_ledger(node_replica(m->node)), 0);
    struct buffer request = {0};
    check_row_dropped(m, row->at);
    request_drop(&request, m->group, row->at);
    sim_client_ask(&k->client, m, (const char *)request.data);
    buffer_release(&request);
}

static void dropped(void *arg, struct client *client, const struct response *response) {
    struct keeper *k = arg;
    if (response->status != 200)
        return;
    sim_count(k->sim, TALLY_LEDGER_DROPPED);
    if (needs_room(client->machine))
        drop_first(k, client->machine);
}

static void look(struct sim *sim, struct event *event) {
    struct keeper *k = event->object;
    for (unsigned i = 0; i < sim->options.machines && !k->client.waiting; i++)
        if (needs_room(sim->machines[i]))
            drop_first(k, sim->machines[i]);
    sim_again(sim, event, sim->now_us + LOOK_US);
}

void keeper_init(struct keeper *k, struct sim *sim) {
    k->sim = sim;
    sim_client_init(&k->client, sim, dropped, k);
    if (BOUNDS_TINY)
        sim_at(sim, sim->now_us + LOOK_US, look, NULL)->object = k;
}

void keeper_release(struct keeper *k) {
    sim_client_release(&k->client);
}
