#include "storage/hard_state.h"

#include "storage/buffer.h"
#include "storage/twice.h"
#include "storage/wire.h"

#include <stdio.h>

static const char magic[] = "KVNHARD2";

static bool copy_read(struct bytes body, struct hard_state *out) {
    struct reader r = reader_of(body);
    if (body.data == NULL)
        return false;
    out->term = read_u64(&r);
    struct bytes id = read_bytes(&r, NODE_ID_SIZE);
    out->vote_incarnation = read_u64(&r);
    if (!reader_done(&r))
        return false;
    memcpy(out->vote_id, id.data, id.size);
    return true;
}

static void body_write(struct buffer *out, const struct hard_state *state) {
    write_u64(out, state->term);
    buffer_append(out, (struct bytes){state->vote_id, NODE_ID_SIZE});
    write_u64(out, state->vote_incarnation);
}

/* Terms only rise, and a vote is given once in a term. */
static bool is_later(const struct hard_state *a, const struct hard_state *b) {
    static const uint8_t none[NODE_ID_SIZE];
    if (a->term != b->term)
        return a->term > b->term;
    return memcmp(b->vote_id, none, NODE_ID_SIZE) == 0 && memcmp(a->vote_id, none, NODE_ID_SIZE) != 0;
}

/* The copy that a crash in between would not need first. Where what was loaded is written again, the copy
 * that it came from may be in the page cache alone, and the other one is durable: then that one waits. */
static enum file_result overwrite(struct file *file, struct bytes body, const struct twice *found,
                                  bool again) {
    struct hard_state first, second;
    bool one = copy_read(found->copies[0], &first), two = copy_read(found->copies[1], &second);
    bool keep_first = one && !(two && is_later(&second, &first));
    if (again && one && two)
        keep_first = !keep_first;
    struct buffer copy = {0};
    twice_put(&copy, magic, body);
    enum file_result result = FILE_OK;
    for (unsigned i = 0; i < 2 && result == FILE_OK; i++) {
        result = file_write(file, (i == 0) == keep_first ? TWICE_PAGE : 0, buffer_bytes(&copy));
        if (result == FILE_OK)
            result = file_sync(file);
    }
    buffer_release(&copy);
    return result;
}

/* A file of its full size is written over, so that no save needs room. */
static enum file_result write_body(struct file_system *fs, struct bytes body, bool again) {
    struct twice found;
    struct file *file;
    uint64_t size = 0;
    enum file_result result = file_open(fs, HARD_STATE_NAME, false, &file);
    if (result == FILE_NOT_FOUND)
        return twice_replace(fs, HARD_STATE_NAME, magic, body);
    if (result != FILE_OK)
        return result;
    twice_read(file, magic, &found);
    result = file_size(file, &size);
    if (result == FILE_OK)
        result = size == 2 * TWICE_PAGE ? overwrite(file, body, &found, again)
                                        : twice_replace(fs, HARD_STATE_NAME, magic, body);
    file_close(file);
    return result;
}

static enum file_result write_state(struct file_system *fs, const struct hard_state *state, bool again) {
    struct buffer body = {0};
    body_write(&body, state);
    enum file_result result = write_body(fs, buffer_bytes(&body), again);
    buffer_release(&body);
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
    struct twice t;
    struct hard_state first = {0}, second = {0};
    *out = (struct hard_state){0};
    enum file_result result = twice_load(fs, HARD_STATE_NAME, magic, &t, why, why_size);
    if (result != FILE_OK)
        return result;
    bool one = copy_read(t.copies[0], &first), two = copy_read(t.copies[1], &second);
    if (!one && !two) {
        snprintf(why, why_size, HARD_STATE_NAME " is damaged");
        return FILE_CORRUPT;
    }
    *out = two && (!one || is_later(&second, &first)) ? second : first;
    out->worn = !one || !two;
    return FILE_OK;
}
