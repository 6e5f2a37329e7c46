/* The file `log_end`: how far the log is known to have been durable. It is what notices damage to the end of
 * the log, which nothing in the log itself attests yet, and that a segment is missing which nothing else
 * names.
 *
 * Of the two copies one is durable, and left alone; the other one, the `next`, is written after every sync of
 * the log, without a sync of its own. A power cut may undo or tear that one. A durable save makes it the
 * durable one, and the copies change places. */
#include "storage/log_internal.h"

#include "storage/buffer.h"
#include "storage/crc32c.h"
#include "storage/wire.h"

#define COPY_SIZE 28u /* bytes of one copy */
/* Written at once: what a failing write leaves of it has the whole copy, or nothing new. */
#define SECTOR_SIZE 512u

static const char end_magic[] = "KVNLEND1";

static void copy_put(uint8_t *at, struct log_place place) {
    memcpy(at, end_magic, 8);
    put_u64(at + 8, place.segment);
    put_u64(at + 16, place.offset);
    put_u32(at + 24, crc32c(0, (struct bytes){at, 24}));
}

/* A page that cannot be read is damaged. */
static bool copy_read(struct file *file, unsigned copy, struct log_place *out) {
    uint8_t at[COPY_SIZE];
    size_t got;
    if (file_read(file, copy * LOG_PAGE_SIZE, at, sizeof at, &got) != FILE_OK || got < sizeof at ||
        memcmp(at, end_magic, 8) != 0 || crc32c(0, (struct bytes){at, 24}) != get_u32(at + 24))
        return false;
    *out = (struct log_place){get_u64(at + 8), (uint32_t)get_u64(at + 16)};
    return true;
}

enum file_result log_end_open(struct log_end *end, struct file_system *fs) {
    struct log_place places[2];
    uint64_t size = 0;
    enum file_result result = file_open(fs, LOG_END_FILE, false, &end->file);
    if (result != FILE_OK)
        return result;
    end->copies = 0;
    end->next = 0;
    /* It is made whole and never shortened: the later copy may be what is gone. */
    bool whole = file_size(end->file, &size) == FILE_OK && size >= 2 * LOG_PAGE_SIZE;
    for (unsigned i = 0; i < 2 && whole; i++) {
        bool valid = copy_read(end->file, i, &places[i]);
        if (valid && (end->copies == 0 || log_place_after(places[i], end->durable))) {
            end->durable = places[i];
            end->next = 1 - i;
        }
        end->copies += valid;
    }
    end->noted = end->durable;
    return FILE_OK;
}

bool log_end_holds(const struct log_end *end) {
    struct log_place durable, noted;
    return copy_read(end->file, 1 - end->next, &durable) && copy_read(end->file, end->next, &noted) &&
           log_place_equal(durable, end->durable) && log_place_equal(noted, end->noted);
}

enum file_result log_end_create(struct log_end *end, struct file_system *fs, struct log_place at) {
    uint8_t content[2 * LOG_PAGE_SIZE] = {0};
    copy_put(content, at);
    copy_put(content + LOG_PAGE_SIZE, at);
    enum file_result result = file_replace(fs, LOG_END_FILE, (struct bytes){content, sizeof content});
    return result == FILE_OK ? log_end_open(end, fs) : result;
}

enum file_result log_end_note(struct log_end *end, struct log_place at) {
    uint8_t sector[SECTOR_SIZE] = {0};
    copy_put(sector, at);
    end->noted = at;
    return file_write(end->file, end->next * LOG_PAGE_SIZE, (struct bytes){sector, sizeof sector});
}

/* One copy durable, then the other written. */
static enum file_result save(struct log_end *end, struct log_place at) {
    enum file_result result = log_end_note(end, at);
    if (result == FILE_OK)
        result = file_sync(end->file);
    if (result != FILE_OK)
        return result;
    end->durable = at;
    end->next = 1 - end->next;
    return log_end_note(end, at);
}

enum file_result log_end_renew(struct log_end *end, struct log_place at) {
    enum file_result result = save(end, at);
    return result == FILE_OK ? file_sync(end->file) : result;
}
