#include "cluster/node_info.h"

#include <assert.h>

/* In the byte of the role. */
#define MAJORITY   0x20u
#define BOOTSTRAPS 0x40u
#define FRESH      0x80u

bool node_id_valid(struct bytes id) {
    if (id.size != NODE_ID_SIZE)
        return false;
    for (size_t i = 0; i < id.size; i++) {
        uint8_t c = id.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

bool cluster_name_valid(struct bytes name) {
    if (name.size == 0 || name.size > CLUSTER_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < 0x20 || name.data[i] > 0x7e)
            return false;
    return true;
}

bool node_info_same_process(const struct node_info *a, const struct node_info *b) {
    return memcmp(a->id, b->id, NODE_ID_SIZE) == 0 && a->incarnation == b->incarnation &&
           a->session == b->session;
}

void node_info_write(struct buffer *out, const struct node_info *info) {
    assert(node_id_valid((struct bytes){info->id, NODE_ID_SIZE}));
    assert(cluster_name_valid(bytes_of(info->cluster)));
    buffer_append(out, (struct bytes){info->id, NODE_ID_SIZE});
    write_u64(out, info->incarnation);
    write_u64(out, info->session);
    write_u64(out, info->group_id);
    write_u32(out, info->group);
    write_u8(out, (uint8_t)((unsigned)info->role | (info->fresh ? FRESH : 0) |
                            (info->bootstraps ? BOOTSTRAPS : 0) | (info->majority ? MAJORITY : 0)));
    write_u64(out, info->term);
    write_u64(out, info->ring_id);
    write_u64(out, info->ring_epoch);
    address_write(out, &info->peer);
    address_write(out, &info->api);
    write_bytes8(out, bytes_of(info->cluster));
}

bool node_info_read(struct reader *r, struct node_info *out) {
    struct node_info info = {0};
    struct bytes id = read_bytes(r, NODE_ID_SIZE);
    info.incarnation = read_u64(r);
    info.session = read_u64(r);
    info.group_id = read_u64(r);
    info.group = read_u32(r);
    uint8_t flags = read_u8(r), role = flags & (uint8_t) ~(FRESH | BOOTSTRAPS | MAJORITY);
    info.term = read_u64(r);
    info.ring_id = read_u64(r);
    info.ring_epoch = read_u64(r);
    info.peer = address_read(r);
    info.api = address_read(r);
    struct bytes cluster = read_bytes8(r);
    if (!reader_ok(r) || !node_id_valid(id) || role > NODE_REMOVED || !cluster_name_valid(cluster))
        return false;
    memcpy(info.id, id.data, NODE_ID_SIZE);
    memcpy(info.cluster, cluster.data, cluster.size);
    info.role = (enum node_role)role;
    info.fresh = (flags & FRESH) != 0;
    info.bootstraps = (flags & BOOTSTRAPS) != 0;
    info.majority = (flags & MAJORITY) != 0;
    *out = info;
    return true;
}
