#include "discovery/discovery_io.h"

#include "cluster/socket_io.h"
#include "discovery/announce.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH          32 /* datagrams in one call */
#define BATCHES_A_TURN 8
#define SLOT_SIZE      (ANNOUNCE_SIZE_MAX + 1) /* one more than is allowed, so that a longer one is seen to be */

struct discovery_io {
    struct address broadcast;
    int receiver, sender;
    struct event *receive, *answer;
    void (*received)(void *arg, const struct address *from, struct bytes datagram);
    void *arg;
    uint64_t unsent;
    uint8_t slots[BATCH][SLOT_SIZE];
};

/* Interfaces. */

static uint32_t ip_of(const struct sockaddr *socket_address) {
    return ntohl(((const struct sockaddr_in *)(const void *)socket_address)->sin_addr.s_addr);
}

/* How well an interface's address fits: 2 the very address, 1 the same network, 0 not at all or no broadcast
 * there (a network of one or two addresses has none). */
static int fit(const struct ifaddrs *i, uint32_t wanted) {
    if (i->ifa_addr == NULL || i->ifa_netmask == NULL || i->ifa_addr->sa_family != AF_INET ||
        (i->ifa_flags & IFF_UP) == 0 || (i->ifa_flags & IFF_POINTOPOINT) != 0)
        return 0;
    uint32_t address = ip_of(i->ifa_addr), mask = ip_of(i->ifa_netmask);
    bool loopback = (i->ifa_flags & IFF_LOOPBACK) != 0;
    if ((~mask & 0xffffffff) < 3 || (address & mask) != (wanted & mask))
        return 0;
    /* Every address of loopback's network is this machine's own; on others only those that are listed are. */
    return address == wanted ? 2 : loopback ? 1 : 0;
}

static bool find_broadcast(const struct address *address, struct address *out) {
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return false;
    struct address ip = *address;
    uint32_t wanted, best_broadcast = 0;
    memcpy(&wanted, ip.ip, sizeof wanted);
    wanted = ntohl(wanted);
    int best = 0;
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        int how = fit(i, wanted);
        if (how <= best)
            continue;
        best = how;
        best_broadcast = htonl(ip_of(i->ifa_addr) | ~ip_of(i->ifa_netmask));
    }
    freeifaddrs(all);
    *out = (struct address){.family = 4};
    memcpy(out->ip, &best_broadcast, sizeof best_broadcast);
    return best > 0;
}

/* Sockets. */

static const char *mend_for(int error) {
    switch (error) {
    case EADDRINUSE:
        return "a program that does not share the port uses it: end it, or choose another -discovery-port";
    case EADDRNOTAVAIL:
        return "no interface of this machine has that address: correct -bind";
    case EACCES:
    case EPERM:
        return "the system does not permit it: choose a -discovery-port from 1024 on, or use -no-broadcast "
               "and -peers";
    default:
        return "use -no-broadcast and -peers";
    }
}

static int open_socket(int option, const struct address *address, uint16_t port, char *why, size_t why_size) {
    struct address at = *address;
    at.port = port;
    struct sockaddr_storage name;
    socklen_t size = socket_of_address(&at, &name);
    int on = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, option, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&name, size) == 0)
        return fd;
    int error = errno;
    char text[ADDRESS_TEXT_MAX];
    snprintf(why, why_size, "cannot use UDP port %u on %s for discovery: %s (%s)", (unsigned)port,
             address_ip_text(address, text), strerror(error), mend_for(error));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Up to BATCH datagrams. Returns how many, 0 when there are none left. */
static int receive_batch(struct discovery_io *io, int fd) {
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_storage from[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){.iov_base = io->slots[i], .iov_len = SLOT_SIZE};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &from[i];
        messages[i].msg_hdr.msg_namelen = sizeof from[i];
    }
    int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        struct address source = address_of_socket(&from[i]);
        io->received(io->arg, &source, (struct bytes){io->slots[i], messages[i].msg_len});
    }
    return count < 0 ? 0 : count;
}

static void readable(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    for (int i = 0; i < BATCHES_A_TURN; i++)
        if (receive_batch(arg, (int)fd) < BATCH)
            return;
}

static bool find_interface(const struct discovery_io_options *options, struct address *local,
                           struct address *broadcast, char *why, size_t why_size) {
    bool any = address_is_wildcard(&options->bind);
    *local = any ? options->advertise : options->bind;
    char text[ADDRESS_TEXT_MAX];
    address_ip_text(local, text);
    if (local->family != 4) {
        snprintf(why, why_size,
                 "no discovery by broadcast on %s: only IPv4 has broadcasts (name other nodes with -peers)",
                 text);
        return false;
    }
    if (find_broadcast(local, broadcast))
        return true;
    snprintf(why, why_size,
             "no discovery by broadcast on %s: no interface that has %s address can broadcast (correct %s, "
             "or name other "
             "nodes with -peers)",
             text, any ? "the advertised" : "this", any ? "-advertise" : "-bind");
    return false;
}

static struct event *watch(struct event_base *base, int fd, struct discovery_io *io) {
    struct event *event = event_new(base, fd, EV_READ | EV_PERSIST, readable, io);
    if (event == NULL || event_add(event, NULL) != 0)
        errx(1, "out of memory for discovery's events");
    return event;
}

struct discovery_io *discovery_io_new(const struct discovery_io_options *options, char *why,
                                      size_t why_size) {
    struct address local, broadcast;
    if (!find_interface(options, &local, &broadcast, why, why_size))
        return NULL;
    int receiver = open_socket(SO_REUSEADDR, &broadcast, options->port, why, why_size);
    if (receiver < 0)
        return NULL;
    int sender = open_socket(SO_BROADCAST, &local, 0, why, why_size);
    if (sender < 0) {
        close(receiver);
        return NULL;
    }
    struct discovery_io *io = calloc(1, sizeof *io);
    if (io == NULL)
        err(1, "out of memory for discovery");
    io->broadcast = broadcast;
    io->broadcast.port = options->port;
    io->receiver = receiver;
    io->sender = sender;
    io->received = options->received;
    io->arg = options->arg;
    io->receive = watch(options->base, receiver, io);
    io->answer = watch(options->base, sender, io);
    return io;
}

void discovery_io_free(struct discovery_io *io) {
    if (io == NULL)
        return;
    event_free(io->receive);
    event_free(io->answer);
    close(io->receiver);
    close(io->sender);
    free(io);
}

void discovery_io_send(struct discovery_io *io, const struct address *to, struct bytes datagram) {
    const struct address *address = to != NULL ? to : &io->broadcast;
    struct sockaddr_storage name;
    socklen_t size = socket_of_address(address, &name);
    if (address->family != 4 ||
        sendto(io->sender, datagram.data, datagram.size, MSG_DONTWAIT, (struct sockaddr *)&name, size) < 0)
        io->unsent++;
}

uint64_t discovery_io_unsent(const struct discovery_io *io) {
    return io->unsent;
}

struct address discovery_io_broadcast(const struct discovery_io *io) {
    return io->broadcast;
}
