#include "cluster/socket_io.h"

#include <netinet/in.h>

int socket_family(const struct address *address) {
    return address->family == 6 ? AF_INET6 : AF_INET;
}

socklen_t socket_of_address(const struct address *address, struct sockaddr_storage *out) {
    *out = (struct sockaddr_storage){0};
    if (address->family == 6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};
        memcpy(&in6.sin6_addr, address->ip, sizeof in6.sin6_addr);
        memcpy(out, &in6, sizeof in6);
        return sizeof in6;
    }
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    memcpy(&in.sin_addr, address->ip, sizeof in.sin_addr);
    memcpy(out, &in, sizeof in);
    return sizeof in;
}

struct address address_of_socket(const struct sockaddr_storage *from) {
    struct address address = {0};
    if (from->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        address.family = 4;
        address.port = ntohs(in.sin_port);
        memcpy(address.ip, &in.sin_addr, sizeof in.sin_addr);
    } else if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, from, sizeof in6);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        address.family = mapped ? 4 : 6;
        address.port = ntohs(in6.sin6_port);
        memcpy(address.ip, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
    return address;
}
