/* The bodies of POST /cluster/join, leave and transfer. */
#ifndef API_ROUTES_CLUSTER_H
#define API_ROUTES_CLUSTER_H

#include "api/parameters.h"

/* {"id":"...","address":"..."}, address for a join only. Unescaped in place and borrowed by *out. False:
 * refused. */
bool cluster_body_read(uint8_t *data, size_t size, enum operation operation, struct request *out,
                       struct refusal *why);
/* KV-After: <group>:<term>.<index> */
bool after_parse(const struct http_head *head, const uint8_t *base, struct request *out, struct refusal *why);

#endif
