/* Who may speak to this node from a browser (bug 50): a page of another site can send requests to localhost,
 * and a foreign name can be made to resolve to it. So Host must name this node, an Origin must be Host's own,
 * and a body must be JSON, which no page sends elsewhere without being asked first. */
#ifndef API_ACCESS_H
#define API_ACCESS_H

#include "api/http.h"

/* An IP literal, localhost, or one of `names` (lower case, NULL-terminated; may be NULL), with any port or
 * none. */
bool access_host(struct bytes host, const char *const *names);
/* scheme://authority with the authority of Host. */
bool access_origin(struct bytes origin, struct bytes host);
/* application/json, with or without parameters. */
bool access_json(struct bytes content_type);

#endif
