/* The routes: which paths there are, what each takes, and what it does. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/client.h"

/* What can be told from a request's head, before its body is wanted: whether it may speak to this node, its
 * path, method and type. *allow is set for ERROR_METHOD. */
bool routes_check(struct api_client *client, struct refusal *why, const char **allow);

#define ROUTES_UNKNOWN (METRICS_ROUTES_MAX - 1) /* requests that name no route */

/* The path of a route by its number, "other" for ROUTES_UNKNOWN; NULL where there is none. */
const char *routes_name(uint8_t number);

/* Whether the request may be done beside those of its connection that are under way. */
bool routes_may_start(const struct api_client *client);

/* The whole request is at the front of the input. Answers it, or takes a place for its answer, or begins a
 * listing. */
void routes_run(struct api_client *client, uint64_t now_ms);

#endif
