/* struct address to and from what sockets take. */
#ifndef CLUSTER_SOCKET_IO_H
#define CLUSTER_SOCKET_IO_H

#include <sys/socket.h>

#include "cluster/address.h"

/* Fills *out and gives the size that bind, connect and sendto want. */
socklen_t socket_of_address(const struct address *address, struct sockaddr_storage *out);
/* Family 0 for a socket that is neither IPv4 nor IPv6; 4 for IPv4 within IPv6, as a listener on [::] sees it.
 */
struct address address_of_socket(const struct sockaddr_storage *from);
int socket_family(const struct address *address);

#endif
