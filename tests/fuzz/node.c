/* A whole node among two hostile members: hellos, consensus messages with records and snapshots that fit and
 * that do not, requests and replies passed on, datagrams, client bytes, and time. Whatever is said to it, it
 * neither crashes nor takes its own disk for broken, and its store stays what its log says.
 *
 * Disk and helper threads are memory: a job runs when the script says so. */
#include "cmd/node.h"
#include "replication/hello.h"
#include "tests/frames.h"
#include "tests/fuzz/fuzz.h"

#define JOBS_MAX 64
#define PEERS    2

struct world {
    struct node *node;
    uint64_t now_ms, group_id;
    uint32_t line[PEERS]; /* main connection of each hostile member; 0: none */
    uint32_t dialled[64];
    size_t dials;
    struct job *jobs[JOBS_MAX];
    size_t job_count;
    struct api_client *client;
};

static struct node_info info_of(unsigned n, uint64_t group_id) {
    struct node_info info = {
        .incarnation = n == 0 ? 1 : 100 + n, .session = 7 + n, .group_id = group_id, .cluster = "kvnode"};
    memset(info.id, "nab"[n], NODE_ID_SIZE);
    info.peer = (struct address){.family = 4, .ip = {10, 0, 0, (uint8_t)(n + 1)}, .port = 8000};
    return info;
}

static struct member_id member_of(const struct world *w, unsigned n) {
    struct node_info info = n == 0 ? *node_self(w->node) : info_of(n, 0);
    struct member_id id = {.incarnation = info.incarnation};
    memcpy(id.id, info.id, NODE_ID_SIZE);
    return id;
}

/* The node's host. */

static void on_datagram(void *arg, const struct address *to, struct bytes datagram) {
    (void)arg;
    (void)to;
    touch(datagram);
}

static void on_dial(void *arg, uint32_t connection, const struct address *to) {
    struct world *w = arg;
    (void)to;
    if (w->dials < sizeof w->dialled / sizeof w->dialled[0])
        w->dialled[w->dials++] = connection;
}

static void on_write(void *arg, uint32_t connection, struct bytes data) {
    (void)arg;
    (void)connection;
    touch(data);
}

static void on_close(void *arg, uint32_t connection) {
    struct world *w = arg;
    for (unsigned i = 0; i < PEERS; i++)
        if (w->line[i] == connection)
            w->line[i] = 0;
}

static void on_background(void *arg, struct job *job) {
    struct world *w = arg;
    MUST(w->job_count < JOBS_MAX);
    w->jobs[w->job_count++] = job;
}

static void on_log(void *arg, enum node_level level, const char *event, const char *text) {
    (void)arg;
    (void)level;
    if (strcmp(event, "disk_failed") == 0)
        fprintf(stderr, "%s\n", text);
    MUST(strcmp(event, "disk_failed") != 0);
}

static uint64_t on_wall(void *arg) {
    return 1700000000000 + ((struct world *)arg)->now_ms;
}

/* Events. */

static bool runs(const struct world *w) {
    return node_state(w->node) == NODE_RUNNING || node_state(w->node) == NODE_STOPPING;
}

static void turn(struct world *w) {
    for (int i = 0; i < 4 && runs(w); i++) {
        uint64_t next = node_turn(w->node, w->now_ms);
        if (next > w->now_ms)
            break;
    }
    struct buffer *out = api_output(w->client);
    touch(buffer_bytes(out));
    buffer_consume(out, buffer_size(out));
}

static void run_jobs(struct world *w) {
    while (w->job_count > 0 && runs(w)) {
        struct job *job = w->jobs[0];
        memmove(&w->jobs[0], &w->jobs[1], --w->job_count * sizeof job);
        job->run(job);
        node_job_done(w->node, w->now_ms, job);
        turn(w);
    }
}

static void receive(struct world *w, uint32_t number, struct bytes data) {
    uint8_t *copy = exact(data);
    if (number != 0)
        peers_received(node_peers(w->node), w->now_ms, number, (struct bytes){copy, data.size});
    free(copy);
}

static void send_frame(struct world *w, uint32_t number, uint8_t type, struct bytes payload) {
    struct buffer out = {0};
    write_frame(&out, type, payload);
    receive(w, number, buffer_bytes(&out));
    buffer_release(&out);
}

static void greet(struct world *w, unsigned n, uint64_t group_id) {
    struct buffer out = {0};
    struct hello hello = {.uptime_ms = 5000, .info = info_of(n + 1, group_id)};
    struct address from = hello.info.peer;
    uint32_t number = peers_next_number(node_peers(w->node));
    if (w->line[n] != 0)
        peers_closed(node_peers(w->node), w->now_ms, w->line[n], PEERS_CLOSED);
    w->line[n] = number;
    peers_accepted(node_peers(w->node), w->now_ms, number, &from);
    hello.info.role = NODE_LEADER;
    hello_write(&out, &hello);
    receive(w, w->line[n], buffer_bytes(&out));
    send_frame(w, w->line[n], 3, (struct bytes){NULL, 0}); /* WELCOME */
    buffer_release(&out);
}

static void say(struct world *w, unsigned n, const struct message *message) {
    struct buffer out = {0};
    message_encode(&out, message);
    send_frame(w, w->line[n], FRAME_RAFT, buffer_bytes(&out));
    buffer_release(&out);
}

/* Small numbers are most often the ones that matter. */
static uint64_t take_number(struct script *s) {
    uint8_t n = take_u8(s);
    switch (n) {
    case 255:
        return UINT64_MAX;
    case 254:
        return UINT64_MAX / 2;
    case 253:
        return UINT64_C(1) << 32;
    case 252:
        return UINT64_MAX - take_u8(s);
    case 251:
        return (uint64_t)take_u16(s) << 16;
    default:
        return n;
    }
}

static struct version take_version(struct script *s) {
    uint64_t term = take_number(s);
    return (struct version){term, take_number(s)};
}

static void configuration_of(const struct world *w, uint8_t kind, struct buffer *out) {
    struct configuration c = {.group_id = w->group_id, .mode = kind % 3, .voters_max = 5};
    for (unsigned n = 0; n < 3; n++)
        if (kind >> 2 & 1u << n)
            c.members[c.count++] = (struct member){
                .id = member_of(w, n), .role = kind & 32 && n > 0 ? MEMBER_LEARNER : MEMBER_VOTER};
    if (c.count > 0)
        configuration_encode(out, &c);
}

static void payload_of(struct script *s, const struct world *w, enum entry_type type, struct buffer *out) {
    uint8_t kind = take_u8(s), key[2] = {'k', (uint8_t)('0' + kind % 4)};
    if (kind == 255) {
        buffer_append(out, take_sized(s));
    } else if (type == ENTRY_CONFIGURATION) {
        configuration_of(w, kind, out);
    } else if (type == ENTRY_PUT || type == ENTRY_DELETE) {
        struct entry entry = {.key = {key, 2}};
        if (type == ENTRY_PUT)
            entry.value = (struct bytes){key, kind % 3};
        if (kind & 16) {
            entry.condition = CONDITION_MATCH;
            entry.match = take_version(s);
        }
        entry_encode(out, &entry);
    }
}

/* As storage/FORMAT.md draws it; the checksums are 0. */
static void put_record(struct buffer *out, uint64_t term, uint64_t index, uint8_t type,
                       struct bytes payload) {
    write_u64(out, 0);
    write_u32(out, 8 + 8 + 1 + (uint32_t)payload.size);
    write_u32(out, 0x31766b01);
    write_u64(out, term);
    write_u64(out, index);
    write_u8(out, type);
    buffer_append(out, payload);
    while (buffer_size(out) % 8 != 0)
        write_u8(out, 0);
}

static void append(struct script *s, struct world *w, unsigned n) {
    struct buffer records = {0};
    struct message m = {.type = MESSAGE_APPEND, .term = take_number(s)};
    uint8_t flags = take_u8(s);
    const struct log *log = replica_log(node_replica(w->node));
    m.append.previous = (struct version){log_last_term(log), log_last(log)};
    if (flags & 1)
        m.append.previous = take_version(s);
    m.append.commit = flags & 2 ? take_number(s) : m.append.previous.index + 1;
    m.append.read = flags & 4 ? take_number(s) : 0;
    m.append.alone = flags & 8;
    uint64_t index = m.append.previous.index;
    for (unsigned count = flags >> 5; count > 0; count--) {
        uint8_t how = take_u8(s), type = 1 + how % 4;
        struct buffer payload = {0};
        payload_of(s, w, type, &payload);
        index = how & 16 ? take_number(s) : index + 1;
        put_record(&records, how & 32 ? take_number(s) : m.term, index, type, buffer_bytes(&payload));
        buffer_release(&payload);
    }
    m.append.records = buffer_bytes(&records);
    say(w, n, &m);
    buffer_release(&records);
}

/* A snapshot that is right, whole or in part, or with a byte changed. */
static void install(struct script *s, struct world *w, unsigned n) {
    struct buffer file = {0}, configuration = {0};
    struct store *store = store_new(0);
    struct version at = {1, 0};
    uint8_t flags = take_u8(s);
    struct entry entry = {.key = bytes_of("key"), .value = bytes_of("value")};
    for (unsigned count = 1 + flags % 16; count > 0; count--) {
        at.index++;
        store_apply(store, at, ENTRY_PUT, &entry, false);
    }
    configuration_of(w, take_u8(s), &configuration);
    struct snapshot_header header = {
        .at = at, .count = 1, .configuration = buffer_bytes(&configuration), .configuration_index = 1};
    struct snapshot_writer *writer = snapshot_writer_new(store, &header);
    while (!snapshot_writer_step(writer, 4096, &file))
        continue;
    snapshot_writer_free(writer);
    store_free(store);
    if (flags & 16)
        file.data[file.start + take_u16(s) % buffer_size(&file)] = take_u8(s);
    struct message m = {.type = MESSAGE_SNAPSHOT, .term = take_number(s)};
    m.snapshot.at = flags & 32 ? take_version(s) : at;
    m.snapshot.total = buffer_size(&file);
    size_t half = flags & 64 ? buffer_size(&file) / 2 : buffer_size(&file);
    m.snapshot.chunk = (struct bytes){buffer_bytes(&file).data, half};
    say(w, n, &m);
    m.snapshot.offset = half;
    m.snapshot.chunk = (struct bytes){buffer_bytes(&file).data + half, buffer_size(&file) - half};
    if (flags & 64)
        say(w, n, &m);
    buffer_release(&file);
    buffer_release(&configuration);
}

/* The other messages, field by field. */
static void any_message(struct script *s, struct world *w, unsigned n) {
    struct message m = {.type = 1 + take_u8(s) % 10, .term = take_number(s)};
    uint8_t flags = take_u8(s);
    switch (m.type) {
    case MESSAGE_VOTE:
        m.vote.last = take_version(s);
        m.vote.pre = flags & 1;
        m.vote.transfer = flags & 2;
        break;
    case MESSAGE_VOTE_REPLY:
        m.vote_reply.granted = flags & 1;
        m.vote_reply.pre = flags & 2;
        break;
    case MESSAGE_APPEND_REPLY:
        m.append_reply.success = flags & 1;
        m.append_reply.match = take_number(s);
        m.append_reply.durable = take_number(s);
        m.append_reply.read = take_number(s);
        m.append_reply.hint = take_version(s);
        m.append_reply.last = take_number(s);
        break;
    case MESSAGE_SNAPSHOT:
        m.snapshot.at = take_version(s);
        m.snapshot.chunk = take_sized(s);
        m.snapshot.total = m.snapshot.chunk.size + (flags & 1 ? take_number(s) >> 8 : 0);
        break;
    case MESSAGE_SNAPSHOT_REPLY:
        m.snapshot_reply.at = take_version(s);
        m.snapshot_reply.offset = take_number(s);
        m.snapshot_reply.installed = flags & 1;
        m.snapshot_reply.refused = flags & 2;
        break;
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_INDEX_REPLY:
        m.read_index.id = take_number(s);
        m.read_index.ok = m.type == MESSAGE_READ_INDEX_REPLY && flags & 1;
        m.read_index.index = m.type == MESSAGE_READ_INDEX_REPLY ? take_number(s) : 0;
        break;
    case MESSAGE_REMOVED:
        m.removed.index = take_number(s);
        break;
    case MESSAGE_APPEND:
    case MESSAGE_TIMEOUT_NOW:
        break;
    }
    say(w, n, &m);
}

/* A node elects itself, or is elected, where the others say yes to all it asks for. */
static void elect(struct world *w) {
    const struct raft *raft = replica_raft_view(node_replica(w->node));
    for (int i = 0; i < 4 && runs(w) && raft_role(raft) != RAFT_LEADER; i++) {
        w->now_ms += 600;
        turn(w);
        for (unsigned n = 0; n < PEERS; n++) {
            struct message m = {.type = MESSAGE_VOTE_REPLY, .term = raft_term(raft) + 1};
            m.vote_reply.granted = m.vote_reply.pre = true;
            say(w, n, &m);
            m.term = raft_term(raft);
            m.vote_reply.pre = false;
            say(w, n, &m);
        }
        turn(w);
    }
}

static void client_bytes(struct script *s, struct world *w) {
#define REQUEST(line) line " HTTP/1.1\r\nHost: localhost\r\n"
    static const char set[] =
        REQUEST("POST /set") "Content-Type: application/json\r\nContent-Length: 23\r\n\r\n"
                             "{\"key\":\"k1\",\"value\":\"\"}";
    static const char get[] = REQUEST("GET /get?key=k1&consistency=linearizable") "\r\n";
    static const char delete[] = REQUEST("DELETE /delete?key=k1&ack=all") "If-Match: \"1.3\"\r\n\r\n";
    static const char view[] =
        REQUEST("GET /keys") "\r\n" REQUEST("GET /cluster") "\r\n" REQUEST("GET /health") "\r\n";
    static const char *const texts[] = {set, get, delete, view};
    uint8_t which = take_u8(s);
    struct bytes text = which < 4 ? bytes_of(texts[which]) : take_sized(s);
    if (api_wants_close(w->client) && node_state(w->node) == NODE_RUNNING) {
        api_close(w->client, w->now_ms);
        w->client = api_open(node_api(w->node), w->now_ms, w);
    }
    if (api_wants_input(w->client)) {
        buffer_append(api_input(w->client), text);
        api_process(w->client, w->now_ms);
    }
}

static void passed_on(struct script *s, struct world *w, unsigned n) {
    struct buffer out = {0};
    uint8_t key[1] = {take_u8(s)}, flags = take_u8(s);
    struct request request = {.operation = 1 + flags % 3,
                              .key = {key, 1},
                              .condition = flags >> 2 & 3,
                              .ack_given = flags & 16,
                              .ack = flags & 32 ? ACK_ALL : ACK_QUORUM,
                              .linearizable = flags & 64,
                              .deadline_ms = w->now_ms + 100u * key[0]};
    request_encode(&out, take_number(s), w->now_ms, &request);
    send_frame(w, w->line[n], FRAME_REQUEST, buffer_bytes(&out));
    buffer_release(&out);
}

static void dial_result(struct world *w, uint8_t which) {
    if (w->dials == 0)
        return;
    uint32_t number = w->dialled[--w->dials];
    if (which & 1)
        peers_connected(node_peers(w->node), w->now_ms, number);
    else
        peers_closed(node_peers(w->node), w->now_ms, number, PEERS_CONNECT_REFUSED);
}

static void rare(struct script *s, struct world *w, uint8_t which, unsigned n) {
    struct address from = {.family = 4, .ip = {10, 0, 0, 9}, .port = 40000};
    switch (which % 8) {
    case 0:
        node_datagram(w->node, w->now_ms, &from, take_sized(s));
        break;
    case 1:
        dial_result(w, which >> 3);
        break;
    case 2:
        greet(w, n, take_number(s));
        break;
    case 3:
        if (w->line[n] != 0)
            peers_closed(node_peers(w->node), w->now_ms, w->line[n], PEERS_CLOSED);
        w->line[n] = 0;
        break;
    case 4:
        receive(w, w->line[n], take_sized(s));
        break;
    case 5:
        node_stop(w->node, w->now_ms);
        break;
    default:
        send_frame(w, w->line[n], FRAME_RAFT + which / 8 % 6, take_sized(s));
    }
}

static void step(struct script *s, struct world *w) {
    uint8_t op = take_u8(s);
    unsigned n = op >> 7;
    switch (op % 16) {
    case 0:
    case 1:
    case 2:
        append(s, w, n);
        break;
    case 3:
        install(s, w, n);
        break;
    case 4:
    case 5:
        any_message(s, w, n);
        break;
    case 6:
        elect(w);
        break;
    case 7:
        client_bytes(s, w);
        break;
    case 8:
        passed_on(s, w, n);
        break;
    case 9:
        w->now_ms += 10u * take_u8(s);
        break;
    case 10:
        send_frame(w, w->line[n], FRAME_REPLY, take_sized(s));
        break;
    default:
        rare(s, w, take_u8(s), n);
    }
    if (!(op & 64))
        turn(w);
    if (!(op & 32))
        run_jobs(w);
}

/* A leader of its own founding, or a follower of a group of three. */
static void begin(struct world *w, uint8_t kind, struct file_system *fs) {
    struct node_options options = {.fs = fs,
                                   .leader = kind & 1,
                                   .id_given = true,
                                   .cluster = "kvnode",
                                   .peer = info_of(0, 0).peer,
                                   .ack = kind & 2 ? ACK_QUORUM : ACK_ASYNC,
                                   .ack_given = true,
                                   .voters_max = 5,
                                   .sync = kind & 4 ? SYNC_NEVER : SYNC_ALWAYS,
                                   .segment_size = 16384,
                                   .snapshot_log_size = 16384,
                                   .seed = 1};
    struct node_host host = {.arg = w,
                             .datagram = on_datagram,
                             .dial = on_dial,
                             .write = on_write,
                             .close = on_close,
                             .background = on_background,
                             .log = on_log,
                             .wall_ms = on_wall};
    char why[200];
    memset(options.id, 'n', NODE_ID_SIZE);
    MUST(node_open(&options, &host, w->now_ms, &w->node, why, sizeof why));
    w->client = api_open(node_api(w->node), w->now_ms, w);
    node_start(w->node, w->now_ms);
    for (int i = 0; i < 8; i++) {
        w->now_ms += 600;
        turn(w);
        run_jobs(w);
    }
    w->group_id = kind & 1 ? node_self(w->node)->group_id : 77;
    for (unsigned n = 0; n < PEERS; n++)
        greet(w, n, w->group_id);
    turn(w);
}

static bool count_one(void *arg, const struct store_record *record) {
    ++*(uint64_t *)arg;
    touch(record->key);
    touch(record->value);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = script_of(data, size);
    struct world w = {.now_ms = 1000};
    struct file_system *fs = file_system_memory_new();
    begin(&w, take_u8(&s), fs);
    for (int steps = 0; steps < 200 && script_left(&s) > 0 && runs(&w); steps++)
        step(&s, &w);
    struct replica *replica = node_replica(w.node);
    uint64_t count = 0, commit = raft_commit(replica_raft(replica));
    MUST(commit <= log_last(replica_log(replica)));
    store_scan(replica_store(replica), (struct bytes){NULL, 0}, count_one, &count);
    MUST(count == store_count(replica_store(replica)));
    node_close(w.node);
    file_system_free(fs);
    return 0;
}
