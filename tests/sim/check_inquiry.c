/* Nodes are asked what they say of themselves, at the end of a turn, through the core of their HTTP server:
 * one after the other what costs little, and one of each seed again and again what costs much, so that it can
 * be held to what it told before.
 *
 * No event, no time and no chance is spent on it, so that a seed's run is the same with it and without. */
#include <stdlib.h>

#include "tests/sim/check_internal.h"

#define INQUIRY_US (4 * SECOND)
#define METRICS_US (16 * SECOND)

/* The body of a whole answer that says 200. */
static bool body_of(struct bytes answer, struct buffer *body) {
    const char *text = (const char *)answer.data;
    const char *end = memmem(text, answer.size, "\r\n\r\n", 4), *length;
    if (end == NULL || strncmp(text, "HTTP/1.1 200 ", 13) != 0)
        return false;
    length = memmem(text, (size_t)(end - text), "\r\nContent-Length: ", 18);
    size_t size = length == NULL ? 0 : strtoul(length + 18, NULL, 10);
    if (size == 0 || size != answer.size - (size_t)(end + 4 - text))
        return false;
    buffer_append(body, (struct bytes){(const uint8_t *)end + 4, size});
    buffer_append(body, (struct bytes){(const uint8_t *)"", 1});
    return true;
}

bool check_ask(struct machine *m, const char *route, struct buffer *body) {
    char request[128];
    struct api_client *client = api_open(node_api(m->node), machine_ms(m), NULL);
    buffer_clear(body);
    if (client == NULL)
        return false;
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", route);
    buffer_append_text(api_input(client), request);
    m->asked++;
    api_process(client, machine_ms(m));
    bool answered = body_of(buffer_bytes(api_output(client)), body);
    api_close(client, machine_ms(m));
    return answered;
}

/* The one whose turn it is to be asked, or any where that one does not run. */
static bool is_next(const struct check *c, const struct machine *m) {
    if (c->sim->now_us < c->inquire_us)
        return false;
    return c->inquired % c->sim->options.machines == m->index || c->sim->now_us > c->inquire_us + SECOND;
}

/* Each seed at other times. */
void check_inquire_begin(struct check *c) {
    c->inquire_dear_us = SECOND + c->sim->options.seed * SECOND % METRICS_US;
}

void check_inquire(struct machine *m) {
    struct check *c = m->sim->check;
    bool dear =
        c->sim->options.seed % c->sim->options.machines == m->index && c->sim->now_us >= c->inquire_dear_us;
    bool opened = c->started_us[m->index] < m->sim->now_us; /* before, it has not had a turn */
    if ((!dear && !is_next(c, m)) || machine_is_dark(m) || node_state(m->node) != NODE_RUNNING || !opened)
        return;
    c->inquired++;
    c->inquire_us = m->sim->now_us + INQUIRY_US;
    check_health_told(m);
    check_nodes(m);
    check_rejected(c, m);
    if (!dear)
        return;
    c->inquire_dear_us = m->sim->now_us + METRICS_US;
    check_metrics(m);
    check_cluster(m);
}
