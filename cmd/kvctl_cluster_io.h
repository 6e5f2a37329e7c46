/* kvctl cluster: the members of a group, and changes of them by hand. */
#ifndef CMD_KVCTL_CLUSTER_IO_H
#define CMD_KVCTL_CLUSTER_IO_H

#include "api/json_in.h"
#include "storage/buffer.h"

/* The answer of GET /cluster/nodes as a table; the caller asks json_ok. */
void cluster_print_nodes(struct json *j);
/* The body of POST /cluster/join, leave and transfer: {"id":...} and, where it is not NULL, the address. */
void cluster_body(struct buffer *out, const char *id, const char *address);

#endif
