#include "storage/log_internal.h"

#include "storage/wire.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

/* Bytes read at once from a segment that has no image: a scattered read takes few, reads in order ever more.
 */
#define WINDOW_SIZE       (256u * 1024)
#define WINDOW_SIZE_FIRST (4u * 1024)

bool log_begun(const struct log *log) {
    return log->count > 0;
}

uint64_t log_first(const struct log *log) {
    return log->segments[0]->first;
}

uint64_t log_last(const struct log *log) {
    return log->last;
}

uint64_t log_written(const struct log *log) {
    return log->written;
}

uint64_t log_durable(const struct log *log) {
    return log->durable;
}

uint64_t log_size(const struct log *log) {
    return log->size;
}

const char *log_result_text(enum log_result result) {
    switch (result) {
    case LOG_OK:
        return "ok";
    case LOG_NO_SPACE:
        return "no space left on the disk";
    case LOG_IO_ERROR:
        return "input/output error";
    case LOG_CORRUPT:
        return "corrupt";
    case LOG_OLD:
        return "of an older version of kvnode";
    case LOG_COMPACTED:
        return "compacted";
    case LOG_BEYOND:
        return "beyond the end";
    }
    return "unknown";
}

enum log_result log_fail(struct log *log, enum file_result result) {
    assert(result != FILE_OK);
    log->failed = true;
    return LOG_IO_ERROR;
}

bool log_term_at(const struct log *log, uint64_t index, uint64_t *term) {
    if (index > log->last || index < log->terms.base.index)
        return false;
    *term = index == log->terms.base.index ? log->terms.base.term : log_terms_find(&log->terms, index)->term;
    return true;
}

uint64_t log_last_term(const struct log *log) {
    return log->terms.count > 0 ? log->terms.runs[log->terms.count - 1].term : log->terms.base.term;
}

uint64_t log_configuration_from(const struct log *log, uint64_t index) {
    const struct log_terms *terms = &log->terms;
    for (size_t i = 0; i < terms->configuration_count; i++)
        if (terms->configurations[i] >= index)
            return terms->configurations[i];
    return log->last + 1;
}

uint64_t log_term_start(const struct log *log, uint64_t index) {
    assert(index >= log_first(log));
    assert(index <= log->last);
    uint64_t first = log_terms_find(&log->terms, index)->first;
    return first > log_first(log) ? first : log_first(log);
}

/* Appending. */

static bool fits(const struct segment *segment, uint32_t size) {
    uint64_t batch = segment->batch == 0 ? BATCH_SIZE : 0;
    return segment->end + batch + size + SEGMENT_END_SIZE <= segment->capacity;
}

/* Every write begins with a batch record. It is filled in again when it is written; until then slices may
 * carry it. */
static void open_batch(struct log *log, struct segment *segment) {
    segment->batch = segment->end;
    record_put_batch(segment->image + segment->end, log->durable_position, 0, segment->seed, segment->end);
    segment->end += BATCH_SIZE;
    log->size += BATCH_SIZE;
}

enum log_result log_reserve(struct log *log, uint32_t size, uint8_t **at) {
    if (log->failed)
        return LOG_IO_ERROR;
    if (SEGMENT_HEADS_SIZE + BATCH_SIZE + size + SEGMENT_END_SIZE > log->options.segment_size)
        return LOG_NO_SPACE;
    if (log_leaves_segment(log) || !fits(log_current(log), size)) {
        struct version previous = {.term = log_last_term(log), .index = log->last};
        enum log_result result = log_roll(log, previous, false);
        if (result != LOG_OK)
            return result;
    }
    struct segment *segment = log_current(log);
    if (segment->batch == 0)
        open_batch(log, segment);
    assert(segment->end + size + SEGMENT_END_SIZE <= segment->capacity);
    *at = segment->image + segment->end;
    return LOG_OK;
}

/* Makes room for the next entry record and writes what stands before its payload. */
static enum log_result entry_begin(struct log *log, uint64_t term, enum entry_type type, size_t payload_size,
                                   uint8_t **payload) {
    assert(term >= log_last_term(log));
    assert(payload_size <= ENTRY_SIZE_MAX);
    uint8_t *at;
    enum log_result result = log_reserve(log, record_size(ENTRY_PREFIX_SIZE + payload_size), &at);
    if (result != LOG_OK)
        return result;
    uint8_t *body = at + RECORD_HEADER_SIZE;
    put_u64(body, term);
    put_u64(body + 8, log->last + 1);
    body[16] = (uint8_t)type;
    *payload = body + ENTRY_PREFIX_SIZE;
    return LOG_OK;
}

static void entry_end(struct log *log, uint64_t term, enum entry_type type, size_t payload_size) {
    struct segment *segment = log_current(log);
    uint32_t body_size = ENTRY_PREFIX_SIZE + (uint32_t)payload_size;
    record_seal(segment->image + segment->end, RECORD_ENTRY, body_size, segment->seed, segment->end);
    log->last++;
    segment_push(segment, log->last, segment->end);
    log_terms_append(&log->terms, log->last, term, type);
    segment->end += record_size(body_size);
    log->size += record_size(body_size);
}

enum log_result log_append(struct log *log, uint64_t term, enum entry_type type, struct bytes payload) {
    uint8_t *to;
    enum log_result result = entry_begin(log, term, type, payload.size, &to);
    if (result != LOG_OK)
        return result;
    if (payload.size > 0)
        memcpy(to, payload.data, payload.size);
    entry_end(log, term, type, payload.size);
    return LOG_OK;
}

enum log_result log_append_entry(struct log *log, uint64_t term, enum entry_type type,
                                 const struct entry *entry) {
    uint8_t *to;
    size_t size = entry_size(entry);
    enum log_result result = entry_begin(log, term, type, size, &to);
    if (result != LOG_OK)
        return result;
    struct buffer image = {.data = to, .capacity = size};
    entry_encode(&image, entry);
    assert(image.data == to);
    assert(image.end == size);
    entry_end(log, term, type, size);
    return LOG_OK;
}

enum log_result log_append_record(struct log *log, const struct log_record *record) {
    assert(record->index == log->last + 1);
    return log_append(log, record->term, record->type, record->payload);
}

/* Truncating. */

void log_cut_index(struct log *log, uint64_t index, uint64_t term_before) {
    for (size_t i = log->count; i-- > 0;) {
        struct segment *segment = log->segments[i];
        if (segment_next(segment) <= index)
            break;
        segment->count = index > segment->first ? (uint32_t)(index - segment->first) : 0;
        if (segment->first > index)
            segment->first = index;
    }
    log_terms_truncate(&log->terms, index, term_before);
    log->last = index - 1;
}

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

enum log_result log_prepare_truncate(struct log *log) {
    uint8_t *at;
    return log_reserve(log, TRUNCATION_SIZE, &at);
}

enum log_result log_truncate(struct log *log, uint64_t index) {
    assert(index >= log_first(log));
    assert(index <= log->last);
    uint64_t term_before = 0;
    bool known = log_term_at(log, index - 1, &term_before);
    assert(known);
    uint8_t *at;
    enum log_result result = log_reserve(log, TRUNCATION_SIZE, &at);
    if (result != LOG_OK)
        return result;
    struct segment *segment = log_current(log);
    record_put_truncation(at, index, term_before, segment->seed, segment->end);
    segment->end += TRUNCATION_SIZE;
    log->size += TRUNCATION_SIZE;
    log_cut_index(log, index, term_before);
    log->truncated = true;
    log->written = lesser(log->written, index - 1);
    log->durable = lesser(log->durable, index - 1);
    log->sync.target_index = lesser(log->sync.target_index, index - 1);
    return LOG_OK;
}

/* Writing. */

/* The batch record, the records and the zeros behind them, in one write. */
static enum file_result segment_write(struct log *log, struct segment *segment, uint64_t commit) {
    assert(segment->batch != 0);
    assert(segment->end + SEGMENT_END_SIZE <= segment->capacity);
    record_put_batch(segment->image + segment->batch, log->durable_position, commit, segment->seed,
                     segment->batch);
    memset(segment->image + segment->end, 0, SEGMENT_END_SIZE);
    struct bytes fresh = {segment->image + segment->written,
                          segment->end + SEGMENT_END_SIZE - segment->written};
    enum file_result result = file_write(segment->file, segment->written, fresh);
    if (result == FILE_OK) {
        segment->written = segment->end;
        segment->batch = 0;
    }
    return result;
}

static void count_batch(struct log *log) {
    uint64_t records = log->last > log->written ? log->last - log->written : 0;
    log->counters.records += records;
    if (records > 0)
        histogram_add(&log->counters.batch_records, HISTOGRAM_SIZE_LOG2, records, 1);
}

const struct log_counters *log_counters(const struct log *log) {
    return &log->counters;
}

enum log_result log_write(struct log *log, uint64_t commit, bool force) {
    if (log->failed)
        return LOG_IO_ERROR;
    log->closing = force;
    size_t i = log->count;
    while (i > 0 && log->segments[i - 1]->written < log->segments[i - 1]->end)
        i--;
    if (i == log->count) {
        uint8_t *at;
        if (!force)
            return LOG_OK;
        enum log_result result = log_reserve(log, 0, &at);
        if (result != LOG_OK)
            return result;
        i = log->count - 1;
    }
    bool several = i + 1 < log->count;
    /* A batch that tears may keep the commit and lose its truncation, and what that took away would stand
     * there again: such a batch tells the commit of what was written before it. */
    if (log->truncated)
        commit = lesser(commit, log->written);
    for (; i < log->count; i++) {
        enum file_result result = segment_write(log, log->segments[i], commit);
        if (result == FILE_NO_SPACE)
            return LOG_NO_SPACE;
        if (result != FILE_OK)
            return log_fail(log, result);
    }
    count_batch(log);
    log->truncated = false;
    log->written = log->last;
    if (several)
        log_evict(log);
    return LOG_OK;
}

/* Reading. */

/* Fills the window with size bytes of the segment from offset on, as far as it is in use. What cannot be read
 * is damaged: unlike a failed write it says nothing of the rest of the disk. */
static enum log_result window_load(struct window *window, const struct segment *segment, uint32_t offset,
                                   uint32_t size) {
    assert(segment->written == segment->end);
    if (size > segment->end - offset)
        size = segment->end - offset;
    if (size > window->capacity) {
        free(window->data);
        window->capacity = size > WINDOW_SIZE ? size : WINDOW_SIZE;
        if ((window->data = malloc(window->capacity)) == NULL)
            err(1, "out of memory for reading the log");
    }
    size_t got;
    window->segment = 0;
    if (file_read(segment->file, offset, window->data, size, &got) != FILE_OK || got < size)
        return LOG_CORRUPT;
    window->segment = segment->number;
    window->offset = offset;
    window->size = size;
    return LOG_OK;
}

/* What is read from a file is not written any more. */
static enum log_result note_damage(struct segment *segment, enum log_result result) {
    if (result == LOG_CORRUPT && segment->image == NULL)
        segment->damaged = true;
    return result;
}

/* At least the whole record at offset, and about size bytes from there on where the segment has them. */
static enum log_result bytes_at(struct window *window, const struct segment *segment, uint32_t offset,
                                uint32_t size, struct bytes *out) {
    if (segment->image != NULL) {
        *out = (struct bytes){segment->image + offset, segment->end - offset};
        return LOG_OK;
    }
    for (uint32_t want = size;;) {
        uint32_t skip = offset - window->offset;
        bool within = window->segment == segment->number && offset >= window->offset && skip < window->size;
        if (within && window->size - skip >= RECORD_HEADER_SIZE) {
            *out = (struct bytes){window->data + skip, window->size - skip};
            uint32_t body_size = get_u32(out->data + 8);
            if (body_size > ENTRY_PREFIX_SIZE + ENTRY_SIZE_MAX)
                return LOG_CORRUPT;
            uint32_t whole = record_size(body_size);
            if (whole <= out->size)
                return LOG_OK;
            if (offset + whole > segment->end)
                return LOG_CORRUPT;
            want = whole > size ? whole : size;
        }
        enum log_result result = window_load(window, segment, offset, want);
        if (result != LOG_OK)
            return result;
    }
}

static enum log_result locate(const struct log *log, uint64_t index, struct segment **segment,
                              uint32_t *offset) {
    if (index < log_first(log))
        return LOG_COMPACTED;
    if (index > log->last)
        return LOG_BEYOND;
    *segment = log_segment_of(log, index);
    assert(index < segment_next(*segment));
    *offset = (*segment)->offsets[index - (*segment)->first];
    return LOG_OK;
}

static uint32_t read_ahead(const struct window *window, const struct segment *segment, uint32_t offset) {
    bool onward = window->segment == segment->number && offset >= window->offset &&
                  offset - window->offset <= window->size + BATCH_SIZE;
    if (!onward)
        return WINDOW_SIZE_FIRST;
    return window->size >= WINDOW_SIZE / 2 ? WINDOW_SIZE : 2 * window->size;
}

enum log_result log_read(struct log *log, uint64_t index, struct log_record *out) {
    struct segment *segment;
    struct bytes from;
    struct raw_record raw;
    uint32_t offset;
    if (log->failed)
        return LOG_IO_ERROR;
    enum log_result result = locate(log, index, &segment, &offset);
    if (result != LOG_OK)
        return result;
    struct window *window = &log->read_window;
    result = bytes_at(window, segment, offset, read_ahead(window, segment, offset), &from);
    if (result != LOG_OK)
        return note_damage(segment, result);
    if (record_read(from, &raw) != RAW_OK || raw.kind != RECORD_ENTRY || !record_entry(&raw, out) ||
        out->index != index)
        return note_damage(segment, LOG_CORRUPT);
    return LOG_OK;
}

/* The records from `index` on that lie one behind the other, with nothing but batch records between: what was
 * truncated and written again ends a slice. */
static enum log_result slice_of(struct segment *segment, uint64_t index, struct bytes from, size_t size_max,
                                struct bytes *out, uint64_t *last) {
    const uint32_t *offset = &segment->offsets[index - segment->first], start = *offset;
    uint32_t end = start;
    for (uint64_t next = segment_next(segment); index < next; index++, offset++) {
        if (*offset != end && *offset != end + BATCH_SIZE)
            break;
        if (*offset - start + RECORD_HEADER_SIZE > from.size)
            break;
        const uint8_t *at = from.data + (*offset - start);
        uint32_t record_end = *offset + record_size(get_u32(at + 8));
        if (record_end - start > from.size || (end > start && record_end - start > size_max))
            break;
        struct raw_record raw;
        if (segment->image == NULL &&
            (record_read((struct bytes){at, record_end - *offset}, &raw) != RAW_OK ||
             raw.kind != RECORD_ENTRY))
            break;
        end = record_end;
        *last = index;
    }
    *out = (struct bytes){from.data, end - start};
    return end > start ? LOG_OK : LOG_CORRUPT;
}

enum log_result log_slice(struct log *log, uint64_t index, size_t size_max, struct bytes *out,
                          uint64_t *last) {
    struct segment *segment;
    struct bytes from;
    uint32_t offset;
    if (log->failed)
        return LOG_IO_ERROR;
    enum log_result result = locate(log, index, &segment, &offset);
    if (result != LOG_OK)
        return result;
    uint32_t want = size_max > segment->capacity ? segment->capacity : (uint32_t)size_max;
    result = bytes_at(&log->slice_window, segment, offset, want > WINDOW_SIZE ? want : WINDOW_SIZE, &from);
    if (result == LOG_OK)
        result = slice_of(segment, index, from, size_max, out, last);
    return note_damage(segment, result);
}

void log_close(struct log *log) {
    for (size_t i = 0; i < log->count; i++)
        segment_free(log->segments[i]);
    for (size_t i = 0; i < log->dropping_count; i++)
        segment_free(log->dropping[i]);
    for (size_t i = 0; i < log->spare_count; i++)
        file_close(log->spares[i].file);
    if (log->growing.file != NULL)
        file_close(log->growing.file);
    if (log->recycled.file != NULL)
        file_close(log->recycled.file);
    if (log->end.file != NULL)
        file_close(log->end.file);
    log_terms_release(&log->terms);
    free(log->segments);
    free(log->dropping);
    free(log->sync.segments);
    free(log->spare_image);
    free(log->read_window.data);
    free(log->slice_window.data);
    free(log->scrub.data);
    free(log);
}
