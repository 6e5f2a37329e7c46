/* kvnode: reads the flags, makes the shells, and turns the loop over one node. */
#include <bsd/stdlib.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "api/api_io.h"
#include "cluster/socket_io.h"
#include "cmd/log_io.h"
#include "cmd/node.h"
#include "cmd/options.h"
#include "cmd/process_io.h"
#include "cmd/version.h"
#include "discovery/discovery_io.h"
#include "discovery/resolver_io.h"
#include "replication/peer_io.h"
#include "storage/clock_io.h"
#include "storage/worker_io.h"

#define RESOLVE_AGAIN_MS 30000 /* names of -peers are looked up again this often: addresses move */

#define SIGNALS 4

enum { EXIT_ENVIRONMENT = 1, EXIT_USAGE = 2 };

#define CLIENTS_MAX 10000
/* For connections between nodes, files, lingering clients, those that gave way. */
#define DESCRIPTORS_OWN (PEERS_CONNECTIONS_MAX + 384)

struct program {
    struct options options;
    struct log_io log;
    struct file_system *fs;
    struct event_base *base;
    struct event *timer, *resolve_timer, *signals[SIGNALS];
    struct histogram turns;
    double started_s;
    struct node *node;
    struct worker *worker;
    struct api_io *api;
    struct peer_io *peers;
    struct discovery_io *discovery; /* NULL with -no-broadcast, or where it cannot be had */
    struct resolver *resolver;
    uint32_t clients_max;
};

static uint64_t wall_ms(void *arg) {
    struct timespec now;
    (void)arg;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void say(struct program *p, enum node_level level, const char *event, const char *text) {
    log_io_line(&p->log, level, event, text);
}

/* node_host */

static void send_datagram(void *arg, const struct address *to, struct bytes datagram) {
    struct program *p = arg;
    if (p->discovery != NULL)
        discovery_io_send(p->discovery, to, datagram);
}

static void dial(void *arg, uint32_t connection, const struct address *to) {
    struct program *p = arg;
    peer_io_dial(p->peers, connection, to);
}

static void write_peer(void *arg, uint32_t connection, struct bytes data) {
    struct program *p = arg;
    peer_io_write(p->peers, connection, data);
}

static void close_peer(void *arg, uint32_t connection) {
    struct program *p = arg;
    peer_io_close(p->peers, connection);
}

static void hold_peer(void *arg, uint32_t connection, bool held) {
    struct program *p = arg;
    peer_io_hold(p->peers, connection, held);
}

static void background(void *arg, struct job *job) {
    struct program *p = arg;
    worker_run(p->worker, job);
}

static void measures(void *arg, struct node_measures *out) {
    struct program *p = arg;
    struct rusage usage;
    struct rlimit limit;
    *out = (struct node_measures){.version = VERSION, .turns = p->turns, .started_s = p->started_s};
    worker_times(p->worker, JOB_LOG, &out->log_syncs);
    worker_times(p->worker, JOB_BULK, &out->bulk_jobs);
    out->peers_turned_away = peer_io_turned_away(p->peers);
    out->resident_bytes = process_io_resident_bytes();
    out->descriptors = process_io_descriptors();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        out->descriptors_max = limit.rlim_cur;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        out->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void level_changed(void *arg, enum node_level level) {
    struct program *p = arg;
    p->log.level = p->options.log_level = level;
}

static void log_line(void *arg, enum node_level level, const char *event, const char *text) {
    say(arg, level, event, text);
}

/* Events of the shells. */

static void job_finished(void *arg, struct job *job) {
    struct program *p = arg;
    node_job_done(p->node, clock_ms(), job);
}

static void datagram_came(void *arg, const struct address *from, struct bytes datagram) {
    struct program *p = arg;
    node_datagram(p->node, clock_ms(), from, datagram);
}

static void resolved(void *arg, const char *name, const struct address *found, size_t count) {
    struct program *p = arg;
    char text[RESOLVER_NAME_MAX + 64];
    for (size_t i = 0; i < count; i++)
        node_learn(p->node, clock_ms(), &found[i]);
    snprintf(text, sizeof text, "-peers: no address for %s yet; it is looked up again", name);
    if (count == 0)
        say(p, NODE_WARNING, "no_such_name", text);
}

static void resolve_all(struct program *p) {
    for (size_t i = 0; p->options.peers[i] != NULL; i++)
        resolver_resolve(p->resolver, p->options.peers[i], resolved, p);
}

static void resolve_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    resolve_all(arg);
}

static void signalled(evutil_socket_t number, short what, void *arg) {
    struct program *p = arg;
    (void)number;
    (void)what;
    node_stop(p->node, clock_ms());
}

/* SIGUSR1: one step more verbose; SIGUSR2: one less. */
static void level_signalled(evutil_socket_t number, short what, void *arg) {
    struct program *p = arg;
    enum node_level level = node_level(p->node);
    (void)what;
    if (number == SIGUSR1 && level > NODE_DEBUG)
        node_set_level(p->node, level - 1);
    else if (number == SIGUSR2 && level < NODE_ERROR)
        node_set_level(p->node, level + 1);
}

static void timer_due(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    (void)arg;
}

/* Set-up. Each fails with one line in `why`. */

static struct address bound(const struct program *p, uint16_t port) {
    struct address address = p->options.bind_address;
    address.port = port;
    return address;
}

/* A busy port is found before anything is written. */
static bool port_is_free(const struct program *p, uint16_t port, const char *flag, char *why,
                         size_t why_size) {
    struct sockaddr_storage socket_address;
    char text[ADDRESS_TEXT_MAX];
    int on = 1, fd = socket(socket_family(&p->options.bind_address), SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct address address = bound(p, port);
    socklen_t size = socket_of_address(&address, &socket_address);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              bind(fd, (struct sockaddr *)&socket_address, size) == 0 && listen(fd, 1) == 0;
    if (!ok)
        snprintf(why, why_size, "cannot listen on %s: %s; choose another with %s",
                 address_text(&address, text), strerror(errno), errno == EADDRNOTAVAIL ? "-bind" : flag);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool open_directory(struct program *p, char *why, size_t why_size) {
    char cause[384];
    if (p->options.memory)
        p->fs = file_system_memory_new();
    else if (file_system_posix_open(p->options.data, &p->fs, cause, sizeof cause) != FILE_OK)
        snprintf(why, why_size, "%s; fix this, or name another with -data", cause);
    return p->fs != NULL;
}

static bool open_node(struct program *p, bool leader, bool again, char *why, size_t why_size) {
    const struct options *o = &p->options;
    struct node_options options = {
        .fs = p->fs,
        .directory = o->data,
        .group = o->group,
        .leader = leader,
        .again = again,
        .memory = o->memory,
        .id_given = o->id_given,
        .peer = o->advertise_address,
        .api = o->advertise_address,
        .ack = o->ack,
        .ack_given = o->ack_given,
        .voters_max = o->voters,
        .voters_given = o->voters_given,
        .sync = o->sync,
        .sync_interval_ms = o->sync_interval_ms,
        .route = o->route,
        .broadcast = !o->no_broadcast,
        .named_peers = o->peers[0] != NULL,
        .allow_hosts = o->allow_hosts,
        .slow_ms = o->slow_ms,
        .level = o->log_level,
        .clients_max = p->clients_max,
        /* With -memory the file is in memory too. */
        .snapshot_max = process_io_memory_bytes() / (o->memory ? 2 : 1),
    };
    struct node_host host = {
        .arg = p,
        .datagram = send_datagram,
        .dial = dial,
        .write = write_peer,
        .close = close_peer,
        .hold = hold_peer,
        .background = background,
        .log = log_line,
        .wall_ms = wall_ms,
        .measures = measures,
        .level = level_changed,
    };
    memcpy(options.id, o->id, NODE_ID_SIZE);
    snprintf(options.cluster, sizeof options.cluster, "%s", o->cluster);
    options.peer.port = o->port;
    options.api.port = o->api;
    arc4random_buf(&options.seed, sizeof options.seed);
    arc4random_buf(options.secret, sizeof options.secret);
    char cause[384];
    if (node_open(&options, &host, clock_ms(), &p->node, cause, sizeof cause))
        return true;
    snprintf(why, why_size, "%s: %s", o->memory ? "-memory" : o->data, cause);
    return false;
}

static bool open_shells(struct program *p, char *why, size_t why_size) {
    struct address api = bound(p, p->options.api), peers = bound(p, p->options.port);
    struct api_io_options options = {.base = p->base, .api = node_api(p->node), .bind = api};
    char cause[API_IO_WHY_MAX];
    p->peers = peer_io_new(p->base, &peers, why, why_size);
    if (p->peers == NULL)
        return false;
    peer_io_attach(p->peers, node_peers(p->node));
    p->api = api_io_open(&options, cause);
    if (p->api == NULL)
        snprintf(why, why_size, "%s", cause);
    return p->api != NULL;
}

/* Discovery that cannot be had is no reason not to serve. */
static void open_discovery(struct program *p) {
    char why[256];
    struct discovery_io_options options = {
        .base = p->base,
        .bind = p->options.bind_address,
        .advertise = p->options.advertise_address,
        .port = p->options.discovery_port,
        .received = datagram_came,
        .arg = p,
    };
    if (p->options.no_broadcast)
        return;
    p->discovery = discovery_io_new(&options, why, sizeof why);
    if (p->discovery == NULL)
        say(p, NODE_WARNING, "no_discovery", why);
}

static void watch_signals(struct program *p) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < SIGNALS; i++) {
        p->signals[i] = evsignal_new(p->base, numbers[i], i < 2 ? signalled : level_signalled, p);
        if (p->signals[i] == NULL || evsignal_add(p->signals[i], NULL) != 0)
            errx(EXIT_ENVIRONMENT, "out of memory");
    }
}

static void start_resolving(struct program *p) {
    struct timeval again = {RESOLVE_AGAIN_MS / 1000, 0};
    if (p->options.peers[0] == NULL)
        return;
    p->resolver = resolver_new(p->base);
    p->resolve_timer = event_new(p->base, -1, EV_PERSIST, resolve_again, p);
    if (p->resolver == NULL || p->resolve_timer == NULL || event_add(p->resolve_timer, &again) != 0)
        errx(EXIT_ENVIRONMENT, "cannot start looking up -peers");
    resolve_all(p);
}

/* One turn, one flush: everything that is ready is read, then the node's turn sends and writes what follows.
 */
static enum node_state run(struct program *p) {
    for (;;) {
        uint64_t began_us = clock_us(), now = began_us / 1000;
        api_clock(node_api(p->node), began_us);
        uint64_t next = node_turn(p->node, now);
        peer_io_flush(p->peers);
        bool turned = api_io_flush(p->api);
        histogram_add_us(&p->turns, clock_us() - began_us);
        bool ran = worker_turn(p->worker);
        enum node_state state = node_state(p->node);
        if (state != NODE_RUNNING && state != NODE_STOPPING)
            return state;
        /* Requests that waited behind those answered now have begun: another turn writes and sends them. So
         * it does with what the job that ran has made durable. */
        uint64_t wait = !turned && !ran && next > now ? next - now : 0;
        if (wait > 1000)
            wait = 1000;
        struct timeval timeout = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000)};
        evtimer_add(p->timer, &timeout);
        event_base_loop(p->base, EVLOOP_ONCE);
    }
}

static void close_shells(struct program *p) {
    if (p->resolve_timer != NULL)
        event_free(p->resolve_timer);
    if (p->resolver != NULL)
        resolver_free(p->resolver);
    if (p->discovery != NULL)
        discovery_io_free(p->discovery);
    if (p->api != NULL)
        api_io_close(p->api);
    if (p->peers != NULL)
        peer_io_free(p->peers);
    worker_free(p->worker);
    p->resolve_timer = NULL;
    p->resolver = NULL;
    p->discovery = NULL;
    p->api = NULL;
    p->peers = NULL;
    p->worker = NULL;
}

/* From an open node to its end. */
static enum node_state serve(struct program *p, char *why, size_t why_size) {
    p->worker = worker_new(p->base, job_finished, p);
    if (p->worker == NULL) {
        snprintf(why, why_size, "cannot start helper threads: %s", strerror(errno));
        return NODE_FAILED;
    }
    if (!open_shells(p, why, why_size)) {
        close_shells(p);
        return NODE_FAILED;
    }
    open_discovery(p);
    node_start(p->node, clock_ms());
    start_resolving(p);
    enum node_state state = run(p);
    close_shells(p);
    return state;
}

static int run_to_end(struct program *p) {
    char why[512] = "";
    bool leader = p->options.leader, again = false;
    for (;; again = true) {
        if (!open_node(p, leader, again, why, sizeof why)) {
            warnx("%s", why);
            return EXIT_ENVIRONMENT;
        }
        enum node_state state = serve(p, why, sizeof why);
        bool ok = state == NODE_STOPPED ? node_shutdown(p->node)
                                        : state == NODE_STARTING_OVER && node_start_over(p->node, &leader);
        if (!ok && why[0] != '\0')
            warnx("%s", why);
        node_close(p->node);
        p->node = NULL;
        if (!ok)
            return EXIT_ENVIRONMENT;
        if (state == NODE_STOPPED) {
            say(p, NODE_INFO, "stopped",
                p->options.memory ? "stopped: -memory kept nothing on disk"
                                  : "stopped: everything accepted is on disk");
            return 0;
        }
    }
}

/* As many descriptors as may be had, and of them no more for clients than leave enough for files and for the
 * connections between nodes: a new segment that cannot be opened would end the process. */
static uint32_t clients_of_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    uint64_t most = limit.rlim_cur / 2;
    if (most > DESCRIPTORS_OWN)
        most = limit.rlim_cur - DESCRIPTORS_OWN;
    return most > CLIENTS_MAX ? CLIENTS_MAX : (uint32_t)most;
}

int main(int argc, char *argv[]) {
    struct program p = {0};
    char why[512];
    if (!options_parse(&p.options, argc, argv, why, sizeof why)) {
        warnx("%s", why);
        return EXIT_USAGE;
    }
    if (p.options.help || p.options.version) {
        fputs(p.options.help ? options_help : "kvnode " VERSION "\n", stdout);
        return 0;
    }
    p.started_s = (double)wall_ms(NULL) / 1000;
    p.log = (struct log_io){p.options.log_level, p.options.log_format};
    signal(SIGPIPE, SIG_IGN);
    p.clients_max = clients_of_descriptors();
    p.base = event_base_new();
    p.timer = p.base == NULL ? NULL : evtimer_new(p.base, timer_due, NULL);
    if (p.timer == NULL)
        errx(EXIT_ENVIRONMENT, "cannot start an event loop");
    watch_signals(&p);
    int status = EXIT_ENVIRONMENT;
    if (port_is_free(&p, p.options.api, "-api", why, sizeof why) &&
        port_is_free(&p, p.options.port, "-port", why, sizeof why) && open_directory(&p, why, sizeof why)) {
        status = run_to_end(&p);
        file_system_free(p.fs);
    } else {
        warnx("%s", why);
    }
    for (size_t i = 0; i < SIGNALS; i++)
        event_free(p.signals[i]);
    event_free(p.timer);
    event_base_free(p.base);
    return status;
}
