#include "storage/hard_state.h"

#include "storage/buffer.h"
#include "storage/crc32c.h"
#include "storage/wire.h"

#include <bsd/string.h>
#include <stdio.h>

#define IDENTITY_NAME     "identity"
#define SIZE_MAX_IDENTITY 256   /* bytes; it is smaller */
#define COPY_SIZE         44u   /* bytes of a copy of the hard state */
#define COPY_STEP         4096u /* from one copy to the other: physical sectors of their own */
#define COPY_STEP_OLD     512u  /* in files of before, until there is room for a new one */

static const char hard_state_magic[] = "KVNHARD1", identity_magic[] = "KVNIDEN2";

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

static enum file_result other_version(const char *name, char *why, size_t why_size) {
    snprintf(
        why, why_size,
        "%s was written by another version of kvnode: start that version, or remove the data directory to "
        "join anew",
        name);
    return FILE_IO_ERROR;
}

/* Reads the file, checks magic and checksum, and leaves a reader on what is between. */
static enum file_result load(struct file_system *fs, const char *name, const char *magic,
                             struct buffer *content, struct reader *r, char *why, size_t why_size) {
    enum file_result result = file_read_all(fs, name, SIZE_MAX_IDENTITY, content);
    if (result == FILE_IO_ERROR)
        return damaged(name, why, why_size);
    if (result != FILE_OK) {
        snprintf(why, why_size, "%s: %s", name, file_result_text(result));
        return result;
    }
    struct bytes whole = buffer_bytes(content);
    if (whole.size < 8 + 4 || memcmp(whole.data, magic, 7) != 0)
        return damaged(name, why, why_size);
    struct bytes checked = {whole.data, whole.size - 4};
    if (crc32c(0, checked) != get_u32(whole.data + checked.size))
        return damaged(name, why, why_size);
    if (whole.data[7] != (uint8_t)magic[7])
        return other_version(name, why, why_size);
    *r = reader_of((struct bytes){checked.data + 8, checked.size - 8});
    return FILE_OK;
}

static void read_id(struct reader *r, uint8_t *id) {
    struct bytes b = read_bytes(r, NODE_ID_SIZE);
    if (b.size == NODE_ID_SIZE)
        memcpy(id, b.data, NODE_ID_SIZE);
}

/* The copies of the hard state. */

static bool copy_read(struct bytes bytes, struct hard_state *out) {
    if (bytes.size < COPY_SIZE || memcmp(bytes.data, hard_state_magic, 8) != 0 ||
        crc32c(0, (struct bytes){bytes.data, COPY_SIZE - 4}) != get_u32(bytes.data + COPY_SIZE - 4))
        return false;
    struct reader r = reader_of((struct bytes){bytes.data + 8, COPY_SIZE - 12});
    out->term = read_u64(&r);
    read_id(&r, out->vote_id);
    out->vote_incarnation = read_u64(&r);
    return reader_done(&r);
}

static void copy_write(struct buffer *out, const struct hard_state *state) {
    size_t from = buffer_size(out);
    buffer_append_text(out, hard_state_magic);
    write_u64(out, state->term);
    buffer_append(out, (struct bytes){state->vote_id, NODE_ID_SIZE});
    write_u64(out, state->vote_incarnation);
    struct bytes all = buffer_bytes(out);
    write_u32(out, crc32c(0, (struct bytes){all.data + from, all.size - from}));
}

/* Terms only rise, and a vote is given once in a term. */
static bool is_later(const struct hard_state *a, const struct hard_state *b) {
    static const uint8_t none[NODE_ID_SIZE];
    if (a->term != b->term)
        return a->term > b->term;
    return memcmp(b->vote_id, none, NODE_ID_SIZE) == 0 && memcmp(a->vote_id, none, NODE_ID_SIZE) != 0;
}

/* The file anew, of its full size, so that no later save needs room. */
static enum file_result create(struct file_system *fs, const struct hard_state *state) {
    struct buffer content = {0};
    for (unsigned i = 0; i < 2; i++) {
        copy_write(&content, state);
        while (buffer_size(&content) < (i + 1) * COPY_STEP)
            write_u8(&content, 0);
    }
    enum file_result result = file_replace(fs, HARD_STATE_NAME, buffer_bytes(&content));
    buffer_release(&content);
    return result;
}

/* The copy that a crash in between would not need first. `found`: the whole file, two copies. Where what was
 * loaded is written again, the copy that it came from may be in the page cache alone, and the other one is
 * durable: then that one waits. */
static enum file_result overwrite(struct file *file, const struct hard_state *state, struct bytes found,
                                  bool again) {
    struct hard_state first, second;
    size_t step = found.size / 2;
    bool one = copy_read(found, &first);
    bool two = copy_read((struct bytes){found.data + step, COPY_SIZE}, &second);
    bool keep_first = one && !(two && is_later(&second, &first));
    if (again && one && two)
        keep_first = !keep_first;
    struct buffer copy = {0};
    copy_write(&copy, state);
    enum file_result result = FILE_OK;
    for (unsigned i = 0; i < 2 && result == FILE_OK; i++) {
        result = file_write(file, (i == 0) == keep_first ? step : 0, buffer_bytes(&copy));
        if (result == FILE_OK)
            result = file_sync(file);
    }
    buffer_release(&copy);
    return result;
}

static enum file_result write_state(struct file_system *fs, const struct hard_state *state, bool again) {
    struct file *file;
    uint8_t found[2 * COPY_STEP];
    size_t got = 0;
    enum file_result result = file_open(fs, HARD_STATE_NAME, false, &file);
    if (result == FILE_NOT_FOUND)
        return create(fs, state);
    if (result != FILE_OK)
        return result;
    result = file_read(file, 0, found, sizeof found, &got);
    bool whole = got == sizeof found, old = got == 2 * COPY_STEP_OLD;
    if (result == FILE_OK && !whole)
        result = create(fs, state);
    if ((result == FILE_OK && whole) || (result == FILE_NO_SPACE && old))
        result = overwrite(file, state, (struct bytes){found, got}, again);
    file_close(file);
    return result;
}

enum file_result hard_state_save(struct file_system *fs, const struct hard_state *state) {
    return write_state(fs, state, false);
}

enum file_result hard_state_save_again(struct file_system *fs, const struct hard_state *loaded) {
    enum file_result result = write_state(fs, loaded, true);
    return result == FILE_OK ? file_system_sync(fs) : result;
}

enum file_result hard_state_load(struct file_system *fs, struct hard_state *out, char *why, size_t why_size) {
    struct buffer content = {0};
    struct hard_state second;
    *out = (struct hard_state){0};
    enum file_result result = file_read_all(fs, HARD_STATE_NAME, 2 * COPY_STEP, &content);
    struct bytes whole = buffer_bytes(&content);
    if (result == FILE_IO_ERROR) {
        damaged(HARD_STATE_NAME, why, why_size);
    } else if (result != FILE_OK) {
        snprintf(why, why_size, "%s: %s", HARD_STATE_NAME, file_result_text(result));
    } else {
        bool one = copy_read(whole, out), two = false;
        size_t step = whole.size > COPY_STEP ? COPY_STEP : COPY_STEP_OLD;
        if (whole.size > step)
            two = copy_read((struct bytes){whole.data + step, whole.size - step}, &second);
        if (two && (!one || is_later(&second, out)))
            *out = second;
        if (!one && !two)
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
    buffer_append(&content, (struct bytes){identity->secret, sizeof identity->secret});
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
        struct bytes cluster = read_bytes8(&r), secret = read_bytes(&r, sizeof out->secret);
        if (!reader_done(&r) || cluster.size > CLUSTER_NAME_MAX || memchr(cluster.data, 0, cluster.size)) {
            result = damaged(IDENTITY_NAME, why, why_size);
        } else {
            memcpy(out->cluster, cluster.data, cluster.size);
            memcpy(out->secret, secret.data, secret.size);
        }
    }
    buffer_release(&content);
    return result;
}
