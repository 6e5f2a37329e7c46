/* Discovery under forged datagrams: no answer is larger than its question, the table keeps its bound, and
 * nobody but an announced address is pointed at. */
#include "discovery/discovery.h"
#include "tests/fuzz/fuzz.h"

struct host {
    struct bytes question; /* being answered */
    size_t answers, answered;
};

static void on_send(void *arg, const struct address *to, struct bytes datagram) {
    struct host *host = arg;
    MUST(datagram.size <= ANNOUNCE_SIZE_MAX);
    touch(datagram);
    if (to != NULL) {
        MUST(datagram.size <= host->question.size);
        MUST(++host->answers == 1);
        host->answered++;
    }
}

static void on_heard(void *arg, const struct node_info *info, enum membership_event event,
                     const struct address *source) {
    (void)arg;
    (void)event;
    (void)source;
    MUST(strcmp(info->cluster, "kvnode") == 0);
}

static void on_foreign(void *arg, const struct node_info *info) {
    (void)arg;
    (void)info;
}

static void on_version(void *arg, const struct address *source) {
    (void)arg;
    (void)source;
}

static void on_removed(void *arg, const struct node_info *info) {
    (void)arg;
    touch((struct bytes){info->id, NODE_ID_SIZE});
}

static struct node_info info_of(uint8_t n) {
    struct node_info info = {.incarnation = 1 + n / 16u, .session = 1 + n / 32u, .cluster = "kvnode"};
    memset(info.id, 'a' + n % 16, NODE_ID_SIZE);
    info.peer = (struct address){.family = 4, .ip = {10, 0, 0, n}, .port = 8000};
    return info;
}

/* An announcement with some of its bytes written over. */
static void forge(struct script *s, struct buffer *out) {
    struct announce announce = {.kind = take_u8(s) % 4, .info = info_of(take_u8(s))};
    announce_encode(out, &announce);
    for (unsigned patches = take_u8(s) % 4; patches > 0; patches--)
        out->data[out->start + take_u8(s) % buffer_size(out)] = take_u8(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = script_of(data, size);
    struct host host = {0};
    struct discovery_host callbacks = {.arg = &host,
                                       .send = on_send,
                                       .heard = on_heard,
                                       .removed = on_removed,
                                       .foreign = on_foreign,
                                       .version = on_version};
    struct node_info self = info_of(0);
    struct discovery *d = discovery_new(&callbacks, &self, true, 1);
    uint64_t now_ms = 1000;
    discovery_start(d, now_ms);
    while (script_left(&s) > 0) {
        uint8_t step = take_u8(&s);
        struct address from = {.family = 4, .ip = {10, 0, 0, step / 8}, .port = 40000};
        struct buffer datagram = {0};
        if (step % 8 == 0) {
            now_ms += take_u16(&s);
            MUST(discovery_tick(d, now_ms) > now_ms);
            continue;
        }
        if (step % 8 < 5)
            forge(&s, &datagram);
        else
            buffer_append(&datagram, take_sized(&s));
        uint8_t *copy = exact(buffer_bytes(&datagram));
        host.question = (struct bytes){copy, buffer_size(&datagram)};
        host.answers = 0;
        discovery_datagram(d, now_ms, &from, host.question);
        host.question.size = 0;
        free(copy);
        buffer_release(&datagram);
    }
    MUST(membership_count(discovery_membership(d)) <= MEMBERSHIP_NODES_MAX);
    MUST(discovery_foreign_count(d) <= 64);
    discovery_leave(d);
    discovery_free(d);
    return 0;
}
