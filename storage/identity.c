#include "storage/identity.h"

#include "storage/buffer.h"
#include "storage/twice.h"
#include "storage/wire.h"

#include <stdio.h>

static const char magic[] = "KVNIDEN2";

enum file_result identity_save(struct file_system *fs, const struct identity *identity) {
    struct buffer body = {0};
    buffer_append(&body, (struct bytes){identity->node_id, NODE_ID_SIZE});
    write_u64(&body, identity->incarnation);
    write_u32(&body, identity->group);
    write_u64(&body, identity->group_id);
    write_bytes8(&body, bytes_of(identity->cluster));
    buffer_append(&body, (struct bytes){identity->secret, sizeof identity->secret});
    write_u8(&body, identity->other_voters);
    write_u8(&body, (uint8_t)identity->files);
    enum file_result result = twice_replace(fs, IDENTITY_FILE, magic, buffer_bytes(&body));
    buffer_release(&body);
    return result;
}

static bool identity_read(struct bytes body, struct identity *out) {
    struct reader r = reader_of(body);
    struct bytes id = read_bytes(&r, NODE_ID_SIZE);
    out->incarnation = read_u64(&r);
    out->group = read_u32(&r);
    out->group_id = read_u64(&r);
    struct bytes cluster = read_bytes8(&r), secret = read_bytes(&r, sizeof out->secret);
    out->other_voters = read_u8(&r);
    unsigned files = read_u8(&r);
    if (!reader_done(&r) || cluster.size > CLUSTER_NAME_MAX || files > IDENTITY_FILES_BESIDE ||
        (cluster.size > 0 && memchr(cluster.data, 0, cluster.size) != NULL))
        return false;
    memcpy(out->node_id, id.data, id.size);
    if (cluster.size > 0)
        memcpy(out->cluster, cluster.data, cluster.size);
    memcpy(out->secret, secret.data, secret.size);
    out->files = (enum identity_files)files;
    return true;
}

enum file_result identity_load(struct file_system *fs, struct identity *out, char *why, size_t why_size) {
    struct twice t;
    *out = (struct identity){0};
    enum file_result result = twice_load(fs, IDENTITY_FILE, magic, &t, why, why_size);
    if (result != FILE_OK)
        return result;
    out->worn = t.copies[0].data == NULL || t.copies[1].data == NULL;
    if (identity_read(t.copies[t.copies[0].data != NULL ? 0 : 1], out))
        return FILE_OK;
    snprintf(why, why_size, IDENTITY_FILE " is damaged");
    return FILE_CORRUPT;
}
