#include "discovery/resolver_io.h"

#include "cluster/socket_io.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS 4 /* so that one name whose servers are silent does not hold up the others */

struct question {
    uint32_t number; /* of the lookup; 0 none */
    uint32_t slot;
    char name[RESOLVER_NAME_MAX + 1];
};

struct answer {
    uint32_t number, slot, count;
    struct address found[RESOLVER_FOUND_MAX];
};

struct lookup {
    struct question question;
    resolver_done *done;
    void *arg;
};

struct resolver {
    struct event_base *base;
    int socket; /* -1 until the first name that is not a number */
    struct event *answered;
    uint32_t next_number;
    struct lookup waiting[RESOLVER_WAITING_MAX];
};

struct resolver *resolver_new(struct event_base *base) {
    struct resolver *r = calloc(1, sizeof *r);
    if (r == NULL)
        err(1, "out of memory for the resolver");
    r->base = base;
    r->socket = -1;
    return r;
}

void resolver_free(struct resolver *r) {
    if (r == NULL)
        return;
    if (r->answered != NULL)
        event_free(r->answered);
    if (r->socket >= 0)
        close(r->socket);
    free(r);
}

/* Splits "host:port"; false where one of them cannot be. */
static bool split(const char *name, char host[RESOLVER_NAME_MAX + 1], uint16_t *port) {
    const char *colon = strrchr(name, ':');
    char literal[32];
    struct address parsed;
    if (colon == NULL || colon == name || strlen(name) > RESOLVER_NAME_MAX || strlen(colon) > 6)
        return false;
    snprintf(literal, sizeof literal, "0.0.0.0%s", colon);
    if (!address_parse(literal, &parsed))
        return false;
    size_t size = (size_t)(colon - name);
    if (size > 253 || memchr(name, ':', size) != NULL || name[0] == '[')
        return false;
    memcpy(host, name, size);
    host[size] = '\0';
    *port = parsed.port;
    return true;
}

bool resolver_name_valid(const char *name) {
    char host[RESOLVER_NAME_MAX + 1];
    struct address parsed;
    uint16_t port;
    return address_parse(name, &parsed) || split(name, host, &port);
}

/* The helper threads. */

static void look_up(const struct question *question, struct answer *answer) {
    char host[RESOLVER_NAME_MAX + 1];
    uint16_t port;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    *answer = (struct answer){.number = question->number, .slot = question->slot};
    if (!split(question->name, host, &port) || getaddrinfo(host, NULL, &hints, &found) != 0)
        return;
    for (const struct addrinfo *i = found; i != NULL && answer->count < RESOLVER_FOUND_MAX; i = i->ai_next) {
        struct sockaddr_storage name = {0};
        memcpy(&name, i->ai_addr, i->ai_addrlen < sizeof name ? i->ai_addrlen : sizeof name);
        struct address address = address_of_socket(&name);
        address.port = port;
        if (address.family != 0)
            answer->found[answer->count++] = address;
    }
    freeaddrinfo(found);
}

static void *work(void *arg) {
    int fd = (int)(intptr_t)arg;
    struct question question;
    struct answer answer;
    for (;;) {
        ssize_t size = recv(fd, &question, sizeof question, 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size != sizeof question)
            break;
        look_up(&question, &answer);
        if (send(fd, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
    return NULL;
}

static void start_thread(int fd) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, work, (void *)(intptr_t)own) != 0)
        close(own);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The loop's side. */

static void answered(evutil_socket_t fd, short what, void *arg) {
    struct resolver *r = arg;
    struct answer answer;
    (void)what;
    if (recv(fd, &answer, sizeof answer, MSG_DONTWAIT) != sizeof answer)
        return;
    struct lookup lookup = r->waiting[answer.slot];
    if (lookup.question.number != answer.number)
        return;
    r->waiting[answer.slot].question.number = 0;
    lookup.done(lookup.arg, lookup.question.name, answer.found, answer.count);
}

static bool start(struct resolver *r) {
    int pair[2];
    if (r->socket >= 0)
        return true;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    r->socket = pair[0];
    r->answered = event_new(r->base, r->socket, EV_READ | EV_PERSIST, answered, r);
    if (r->answered == NULL || event_add(r->answered, NULL) != 0)
        errx(1, "out of memory for the resolver's events");
    for (int i = 0; i < THREADS; i++)
        start_thread(pair[1]);
    close(pair[1]);
    return true;
}

static bool ask(struct resolver *r, const char *name, resolver_done *done, void *arg) {
    for (uint32_t slot = 0; slot < RESOLVER_WAITING_MAX; slot++) {
        struct lookup *lookup = &r->waiting[slot];
        if (lookup->question.number != 0)
            continue;
        if (++r->next_number == 0)
            r->next_number = 1;
        *lookup =
            (struct lookup){.question = {.number = r->next_number, .slot = slot}, .done = done, .arg = arg};
        snprintf(lookup->question.name, sizeof lookup->question.name, "%s", name);
        if (send(r->socket, &lookup->question, sizeof lookup->question, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
            return true;
        lookup->question.number = 0;
        return false;
    }
    return false;
}

bool resolver_resolve(struct resolver *r, const char *name, resolver_done *done, void *arg) {
    struct address address;
    char host[RESOLVER_NAME_MAX + 1];
    uint16_t port;
    if (address_parse(name, &address)) {
        done(arg, name, &address, 1);
        return true;
    }
    return split(name, host, &port) && start(r) && ask(r, name, done, arg);
}
