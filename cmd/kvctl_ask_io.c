#include "cmd/kvctl.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_S 10

void question_release(struct question *q) {
    buffer_release(&q->target);
    buffer_release(&q->body);
}

static bool writes(const struct question *q) {
    return strcmp(q->method, "GET") != 0;
}

/* It was sent, and its answer is lost. */
static const char *unsure_text(const struct question *q) {
    if (bytes_start_with(buffer_bytes(&q->target), bytes_of("/cluster/")))
        return "; the change may have happened: look with `kvctl cluster nodes` before asking again";
    return "; the write may have happened: read the key before writing again";
}

/* True where this answer, or its lack, is the last word. */
static bool ask_one(const char *server, const struct question *q, bool last, struct client_answer *answer,
                    bool *answered) {
    char why[CLIENT_WHY_MAX];
    struct client *client = client_open(server, TIMEOUT_S, why);
    *answer = (struct client_answer){0};
    *answered = client != NULL && client_ask(client, q->method, buffer_bytes(&q->target), q->headers,
                                             buffer_bytes(&q->body), answer, why);
    client_close(client);
    bool unsure = writes(q) && answer->sent;
    bool done = last || unsure || (*answered && (answer->status != 503 || writes(q)));
    if (!*answered)
        fprintf(stderr, "kvctl: %s%s\n", why,
                unsure  ? unsure_text(q)
                : !last ? "; trying the next server"
                        : "");
    return done;
}

int ask(const struct options *o, const struct question *q, struct client_answer *answer) {
    bool answered = false;
    for (int i = 0; i < o->server_count; i++) {
        if (ask_one(o->servers[i], q, i + 1 == o->server_count, answer, &answered))
            break;
        buffer_release(&answer->body);
    }
    if (answered)
        return EXIT_DONE;
    buffer_release(&answer->body);
    return writes(q) && answer->sent ? EXIT_UNKNOWN : EXIT_UNREACHED;
}

int ask_for(const struct options *o, const struct question *q, struct client_answer *answer) {
    int code = ask(o, q, answer);
    if (code != EXIT_DONE || answer->status == 200)
        return code;
    code = print_refusal(answer);
    buffer_release(&answer->body);
    return code;
}
