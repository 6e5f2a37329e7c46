/* What the files of the routes share: a request being run. */
#ifndef API_ROUTE_H
#define API_ROUTE_H

#include "api/client.h"
#include "api/routes.h"

struct call {
    struct api_client *client;
    uint64_t now_ms;
    uint8_t *base; /* the request's first byte */
    struct bytes
        target; /* as it came, before its query is unescaped; kept for -route redirect or refuse alone */
    struct parameters parameters;
    struct refusal why;
};

/* 200 with this body, which is released; JSON, or plain text. */
void route_answer(struct call *call, struct buffer *body, bool plain);

/* Each: false where the request is refused, with why. routes_outside.c: how the node is, as seen from
 * outside. */
bool run_health(struct call *call);
bool run_metrics(struct call *call);
bool run_rejected(struct call *call);
bool run_rejected_drop(struct call *call);
bool run_log_level(struct call *call);

#endif
