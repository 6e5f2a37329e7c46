#include "storage/hard_state.h"

#include "storage/buffer.h"
#include "storage/crc32c.h"
#include "storage/wire.h"

#include <bsd/string.h>
#include <stdio.h>

#define HARD_STATE_NAME "hard_state"
#define IDENTITY_NAME   "identity"
#define SIZE_MAX_BOTH   256 /* bytes; both are smaller */

static const char hard_state_magic[] = "KVNHARD1", identity_magic[] = "KVNIDEN1";

static enum file_result save(struct file_system *fs, const char *name, struct buffer *content) {
    write_u32(content, crc32c(0, buffer_bytes(content)));
    enum file_result result = file_replace(fs, name, buffer_bytes(content));
    buffer_release(content);
    return result;
}

static enum file_result damaged(const char *name, char *why, size_t why_size) {
    snprintf(why, why_size, "%s is damaged: restore it, or remove the data directory to join anew", name);
    return FILE_IO_ERROR;
}

/* Reads the file, checks magic and checksum, and leaves a reader on what is between. */
static enum file_result load(struct file_system *fs, const char *name, const char *magic,
                             struct buffer *content, struct reader *r, char *why, size_t why_size) {
    enum file_result result = file_read_all(fs, name, SIZE_MAX_BOTH, content);
    if (result == FILE_IO_ERROR)
        return damaged(name, why, why_size);
    if (result != FILE_OK) {
        snprintf(why, why_size, "%s: %s", name, file_result_text(result));
        return result;
    }
    struct bytes whole = buffer_bytes(content);
    if (whole.size < 8 + 4 || memcmp(whole.data, magic, 8) != 0)
        return damaged(name, why, why_size);
    struct bytes checked = {whole.data, whole.size - 4};
    if (crc32c(0, checked) != get_u32(whole.data + checked.size))
        return damaged(name, why, why_size);
    *r = reader_of((struct bytes){checked.data + 8, checked.size - 8});
    return FILE_OK;
}

static void read_id(struct reader *r, uint8_t *id) {
    struct bytes b = read_bytes(r, NODE_ID_SIZE);
    if (b.size == NODE_ID_SIZE)
        memcpy(id, b.data, NODE_ID_SIZE);
}

enum file_result hard_state_save(struct file_system *fs, const struct hard_state *state) {
    struct buffer content = {0};
    buffer_append_text(&content, hard_state_magic);
    write_u64(&content, state->term);
    buffer_append(&content, (struct bytes){state->vote_id, NODE_ID_SIZE});
    write_u64(&content, state->vote_incarnation);
    return save(fs, HARD_STATE_NAME, &content);
}

enum file_result hard_state_load(struct file_system *fs, struct hard_state *out, char *why, size_t why_size) {
    struct buffer content = {0};
    struct reader r;
    *out = (struct hard_state){0};
    enum file_result result = load(fs, HARD_STATE_NAME, hard_state_magic, &content, &r, why, why_size);
    if (result == FILE_OK) {
        out->term = read_u64(&r);
        read_id(&r, out->vote_id);
        out->vote_incarnation = read_u64(&r);
        if (!reader_done(&r))
            result = damaged(HARD_STATE_NAME, why, why_size);
    }
    buffer_release(&content);
    return result;
}

enum file_result identity_save(struct file_system *fs, const struct identity *identity) {
    struct buffer content = {0};
    buffer_append_text(&content, identity_magic);
    buffer_append(&content, (struct bytes){identity->node_id, NODE_ID_SIZE});
    write_u64(&content, identity->incarnation);
    write_u32(&content, identity->group);
    write_u64(&content, identity->group_id);
    write_bytes8(&content, bytes_of(identity->cluster));
    return save(fs, IDENTITY_NAME, &content);
}

enum file_result identity_load(struct file_system *fs, struct identity *out, char *why, size_t why_size) {
    struct buffer content = {0};
    struct reader r;
    *out = (struct identity){0};
    enum file_result result = load(fs, IDENTITY_NAME, identity_magic, &content, &r, why, why_size);
    if (result == FILE_OK) {
        read_id(&r, out->node_id);
        out->incarnation = read_u64(&r);
        out->group = read_u32(&r);
        out->group_id = read_u64(&r);
        struct bytes cluster = read_bytes8(&r);
        if (!reader_done(&r) || cluster.size > CLUSTER_NAME_MAX || memchr(cluster.data, 0, cluster.size))
            result = damaged(IDENTITY_NAME, why, why_size);
        else
            memcpy(out->cluster, cluster.data, cluster.size);
    }
    buffer_release(&content);
    return result;
}
