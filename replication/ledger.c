#include "replication/ledger.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <err.h>
#include <stdio.h>

#include "storage/crc32c.h"
#include "storage/twice.h"
#include "storage/wire.h"

#define HEADER_SIZE 8
#define ROW_PREFIX  43u /* bytes of a row's body before its payload */
#define BODY_MAX    (ENTRY_SIZE_MAX + 256)
#define FIRST       (2ull * TWICE_PAGE) /* offset of the first record */
#define SECTOR_SIZE 512u                /* of a copy of the head, written at once */

static const char magic[] = "KVNREJE1";

enum { BODY_ROW = 1, BODY_STATE = 2 };

struct row {
    struct ledger_row row;
    uint64_t offset; /* of the payload in the file */
    uint32_t size;
    bool undecided; /* overruled, and nothing here tells what was committed in its place */
    bool damaged;   /* on the disk, since it was written or read */
};

struct ledger {
    struct file_system *fs;
    struct file *file; /* NULL before the first row */
    uint64_t end;
    uint64_t size_max;
    bool full;         /* the last row met it */
    uint64_t damaged;  /* bytes passed over when it was opened */
    bool torn;         /* the file goes on behind it */
    bool created;      /* when it was opened */
    unsigned next;     /* copy of the head to be written next */
    bool head_doubted; /* writing it failed: it may be whole in the kernel's memory only */
    struct head {
        uint64_t sequence; /* rises with each that is written */
        uint64_t end;      /* of what was synced */
        uint64_t lost;     /* bytes of what had been synced and is gone */
    } head;
    struct row *rows;
    size_t count, capacity;
    size_t unsettled; /* rows overruled, and not undecided */
    struct buffer scratch;
};

/* Rows are kept in order of group id, index and term. */
static int row_compare(const struct row *row, uint64_t group_id, struct version at) {
    const struct ledger_row *r = &row->row;
    if (r->group_id != group_id)
        return r->group_id < group_id ? -1 : 1;
    if (r->at.index != at.index)
        return r->at.index < at.index ? -1 : 1;
    return r->at.term < at.term ? -1 : r->at.term > at.term;
}

/* The position of the first row that is not before it. */
static size_t lower_bound(const struct ledger *l, uint64_t group_id, struct version at) {
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (row_compare(&l->rows[middle], group_id, at) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct row *find(struct ledger *l, uint64_t group_id, struct version at) {
    size_t position = lower_bound(l, group_id, at);
    bool there = position < l->count && row_compare(&l->rows[position], group_id, at) == 0;
    return there ? &l->rows[position] : NULL;
}

static void keep(struct ledger *l, const struct row *row) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity == 0 ? 16 : l->capacity * 2;
        l->rows = reallocarray(l->rows, l->capacity, sizeof *l->rows);
        if (l->rows == NULL)
            err(1, "out of memory for %zu rejected writes", l->capacity);
    }
    size_t position = lower_bound(l, row->row.group_id, row->row.at);
    memmove(&l->rows[position + 1], &l->rows[position], (l->count - position) * sizeof *row);
    l->rows[position] = *row;
    l->count++;
    l->unsettled += row->row.state == LEDGER_OVERRULED;
}

static void drop(struct ledger *l, struct row *row) {
    size_t position = (size_t)(row - l->rows);
    memmove(row, row + 1, (l->count - position - 1) * sizeof *row);
    l->count--;
}

static bool is_unsettled(const struct row *row) {
    return row->row.state == LEDGER_OVERRULED && !row->undecided;
}

static void change_state(struct ledger *l, struct row *row, enum ledger_state state) {
    l->unsettled -= is_unsettled(row);
    row->row.state = state;
    l->unsettled += is_unsettled(row);
    if (state == LEDGER_GONE)
        drop(l, row);
}

static bool replay_row(struct ledger *l, struct reader *r, const uint8_t *base, uint64_t offset) {
    struct row row = {0};
    row.row.group_id = read_u64(r);
    row.row.at.term = read_u64(r);
    row.row.at.index = read_u64(r);
    row.row.by_term = read_u64(r);
    row.row.recorded_ms = read_u64(r);
    row.row.answered = read_u8(r) != 0;
    row.row.type = read_u8(r);
    struct bytes payload = read_rest(r);
    if (!reader_ok(r) || (row.row.type != ENTRY_PUT && row.row.type != ENTRY_DELETE))
        return false;
    row.row.state = LEDGER_OVERRULED;
    row.offset = offset + (uint64_t)(payload.data - base);
    row.size = (uint32_t)payload.size;
    keep(l, &row);
    return true;
}

static bool replay_state(struct ledger *l, struct reader *r) {
    uint64_t group_id = read_u64(r);
    struct version at;
    at.term = read_u64(r);
    at.index = read_u64(r);
    unsigned state = read_u8(r);
    if (!reader_done(r) || state < LEDGER_OVERRULED || state > LEDGER_GONE)
        return false;
    struct row *row = find(l, group_id, at);
    if (row == NULL)
        return true;
    change_state(l, row, state);
    return true;
}

/* False at the first record that is not whole. */
static bool replay_next(struct ledger *l, uint64_t size) {
    uint8_t header[HEADER_SIZE];
    size_t got;
    if (size - l->end < HEADER_SIZE || file_read(l->file, l->end, header, sizeof header, &got) != FILE_OK ||
        got != sizeof header)
        return false;
    uint32_t body_size = get_u32(header + 4);
    if (body_size == 0 || body_size > BODY_MAX || size - l->end - HEADER_SIZE < body_size)
        return false;
    buffer_clear(&l->scratch);
    uint8_t *body = buffer_reserve(&l->scratch, body_size);
    if (file_read(l->file, l->end + HEADER_SIZE, body, body_size, &got) != FILE_OK || got != body_size)
        return false;
    struct bytes bytes = {body, body_size};
    if (crc32c(body_size, bytes) != get_u32(header))
        return false;
    struct reader r = reader_of(bytes);
    uint8_t kind = read_u8(&r);
    bool ok = kind == BODY_ROW     ? replay_row(l, &r, body, l->end + HEADER_SIZE)
              : kind == BODY_STATE ? replay_state(l, &r)
                                   : false;
    if (ok)
        l->end += HEADER_SIZE + body_size;
    return ok;
}

/* The head. */

static struct buffer head_body(const struct head *head) {
    struct buffer body = {0};
    write_u64(&body, head->sequence);
    write_u64(&body, head->end);
    write_u64(&body, head->lost);
    return body;
}

static bool head_read(struct bytes copy, struct head *out) {
    struct reader r = reader_of(copy);
    if (copy.data == NULL)
        return false;
    *out = (struct head){read_u64(&r), 0, 0};
    out->end = read_u64(&r);
    out->lost = read_u64(&r);
    return reader_done(&r) && out->end >= FIRST;
}

/* Where both copies are damaged, nothing tells whether rows are missing too. False where one is. */
static bool head_load(struct ledger *l) {
    struct twice t;
    struct head heads[2];
    twice_read(l->file, magic, &t);
    bool one = head_read(t.copies[0], &heads[0]), two = head_read(t.copies[1], &heads[1]);
    if (!one && !two) {
        l->head = (struct head){.end = FIRST, .lost = FIRST};
        return false;
    }
    l->next = one && (!two || heads[0].sequence > heads[1].sequence);
    l->head = heads[1 - l->next];
    return one && two;
}

/* Without a sync of its own: one copy at a time, and the next sync of the file comes before the other. What
 * it tells is durable. */
static enum file_result head_note(struct ledger *l) {
    struct buffer sector = {0};
    struct head head = l->head;
    head.sequence++;
    head.end = l->end;
    struct buffer body = head_body(&head);
    twice_put(&sector, magic, buffer_bytes(&body));
    while (buffer_size(&sector) < SECTOR_SIZE)
        write_u8(&sector, 0);
    enum file_result result = file_write(l->file, l->next * TWICE_PAGE, buffer_bytes(&sector));
    buffer_release(&body);
    buffer_release(&sector);
    if (result != FILE_OK) {
        l->head_doubted = true;
        return result;
    }
    l->head = head;
    l->next = 1 - l->next;
    return FILE_OK;
}

static enum file_result ledger_create(struct ledger *l) {
    struct buffer body = head_body(&(struct head){.end = FIRST});
    enum file_result result = twice_replace(l->fs, LEDGER_FILE, magic, buffer_bytes(&body));
    buffer_release(&body);
    if (result == FILE_OK)
        result = file_open(l->fs, LEDGER_FILE, false, &l->file);
    if (result == FILE_OK)
        l->head = (struct head){.end = FIRST};
    return result;
}

/* Passes over bytes that are no record to the next that is, which may be as far as one record is large: rows
 * behind damage are kept. False at the end, which is torn then. */
static bool replay_behind(struct ledger *l, uint64_t size) {
    uint64_t damage = l->end, last = damage + HEADER_SIZE + BODY_MAX;
    for (l->end++; l->end < size && l->end <= last; l->end++) {
        uint64_t skipped = l->end - damage;
        if (replay_next(l, size)) {
            l->damaged += skipped;
            return true;
        }
    }
    l->end = damage;
    return false;
}

static enum file_result refuse(struct ledger **l, enum file_result result, const char *what, char *why,
                               size_t why_size) {
    snprintf(why, why_size, "cannot %s the file '" LEDGER_FILE "': %s", what, file_result_text(result));
    ledger_close(*l);
    *l = NULL;
    return result;
}

/* So many copies of the head are written, each durable before the next. */
static enum file_result mend_heads(struct ledger *l, unsigned copies) {
    enum file_result result = file_sync(l->file); /* what the head tells is */
    for (; copies > 0 && result == FILE_OK; copies--) {
        result = head_note(l);
        if (result == FILE_OK)
            result = file_sync(l->file);
    }
    return result;
}

/* What stands behind a torn record may be whole, and would be read again behind a new one of the same size:
 * it is cut. A damaged copy of the head is written again: both, where both were. */
static enum file_result mend(struct ledger *l, uint64_t size, bool heads) {
    enum file_result result = l->end == size ? FILE_OK : file_truncate(l->file, l->end);
    return result == FILE_OK ? mend_heads(l, heads ? 1 : 2) : result;
}

static struct ledger *ledger_new(struct file_system *fs, uint64_t size_max) {
    struct ledger *l = calloc(1, sizeof *l);
    if (l == NULL)
        err(1, "out of memory");
    l->fs = fs;
    l->size_max = size_max > 0 ? size_max : LEDGER_SIZE_MAX;
    l->end = FIRST;
    return l;
}

/* What the file holds. False where a copy of its head is damaged. */
static bool replay(struct ledger *l, uint64_t size) {
    bool heads = head_load(l);
    while (size > FIRST && (replay_next(l, size) || replay_behind(l, size)))
        ;
    if (l->end < l->head.end)
        l->head.lost += l->head.end - l->end;
    return heads;
}

enum file_result ledger_look(struct file_system *fs, struct ledger **out, char *why, size_t why_size) {
    struct ledger *l = *out = ledger_new(fs, 0);
    uint64_t size;
    enum file_result result = file_open(fs, LEDGER_FILE, false, &l->file);
    if (result != FILE_OK)
        l->file = NULL;
    else
        result = file_size(l->file, &size);
    if (result != FILE_OK)
        return refuse(out, result, "read", why, why_size);
    replay(l, size);
    return FILE_OK;
}

enum file_result ledger_open(struct file_system *fs, uint64_t size_max, struct ledger **out, char *why,
                             size_t why_size) {
    struct ledger *l = *out = ledger_new(fs, size_max);
    enum file_result result = file_open(fs, LEDGER_FILE, false, &l->file);
    if (result == FILE_NOT_FOUND) {
        l->created = true;
        result = ledger_create(l);
        return result == FILE_OK || result == FILE_NO_SPACE ? FILE_OK
                                                            : refuse(out, result, "create", why, why_size);
    }
    uint64_t size = 0;
    if (result == FILE_OK)
        result = file_size(l->file, &size);
    if (result != FILE_OK)
        return refuse(out, result, "read", why, why_size);
    bool heads = replay(l, size);
    if (l->end == size && heads)
        return FILE_OK;
    result = mend(l, size, heads);
    return result == FILE_OK ? FILE_OK : refuse(out, result, "mend", why, why_size);
}

void ledger_close(struct ledger *l) {
    if (l == NULL)
        return;
    if (l->file != NULL)
        file_close(l->file);
    buffer_release(&l->scratch);
    free(l->rows);
    free(l);
}

static enum file_result append(struct ledger *l, struct bytes body) {
    assert(body.size > 0);
    assert(body.size <= BODY_MAX);
    if (l->file == NULL) {
        enum file_result result = ledger_create(l);
        if (result != FILE_OK)
            return result;
    }
    if (l->torn) { /* what is behind the torn record must not come to life behind the next one */
        enum file_result result = file_truncate(l->file, l->end);
        if (result != FILE_OK)
            return result;
        l->torn = false;
    }
    uint8_t header[HEADER_SIZE];
    put_u32(header, crc32c((uint32_t)body.size, body));
    put_u32(header + 4, (uint32_t)body.size);
    enum file_result result = file_write(l->file, l->end, (struct bytes){header, sizeof header});
    if (result == FILE_OK)
        result = file_write(l->file, l->end + HEADER_SIZE, body);
    l->torn = result != FILE_OK;
    if (result == FILE_OK)
        l->end += HEADER_SIZE + body.size;
    return result;
}

enum file_result ledger_add(struct ledger *l, const struct ledger_row *added) {
    assert(added->type == ENTRY_PUT || added->type == ENTRY_DELETE);
    if (find(l, added->group_id, added->at) != NULL)
        return FILE_OK;
    buffer_clear(&l->scratch);
    write_u8(&l->scratch, BODY_ROW);
    write_u64(&l->scratch, added->group_id);
    write_u64(&l->scratch, added->at.term);
    write_u64(&l->scratch, added->at.index);
    write_u64(&l->scratch, added->by_term);
    write_u64(&l->scratch, added->recorded_ms);
    write_u8(&l->scratch, added->answered);
    write_u8(&l->scratch, (uint8_t)added->type);
    assert(buffer_size(&l->scratch) == ROW_PREFIX);
    buffer_append(&l->scratch, added->payload);
    l->full = ledger_size(l) + HEADER_SIZE + buffer_size(&l->scratch) > l->size_max;
    if (l->full)
        return FILE_NO_SPACE;
    enum file_result result = append(l, buffer_bytes(&l->scratch));
    if (result != FILE_OK)
        return result;
    struct row row = {
        .row = *added,
        .offset = l->end - added->payload.size,
        .size = (uint32_t)added->payload.size,
    };
    row.row.state = LEDGER_OVERRULED;
    row.row.payload = (struct bytes){NULL, 0};
    keep(l, &row);
    return FILE_OK;
}

enum file_result ledger_sync(struct ledger *l) {
    if (l->file == NULL)
        return FILE_OK;
    enum file_result result = file_sync(l->file);
    if (result != FILE_OK || l->head.end == l->end)
        return result;
    result = head_note(l);
    return result == FILE_NO_SPACE ? FILE_OK : result; /* the rows are durable, and the scrub tries again */
}

static enum file_result write_state(struct ledger *l, struct row *row, enum ledger_state state) {
    buffer_clear(&l->scratch);
    write_u8(&l->scratch, BODY_STATE);
    write_u64(&l->scratch, row->row.group_id);
    write_u64(&l->scratch, row->row.at.term);
    write_u64(&l->scratch, row->row.at.index);
    write_u8(&l->scratch, (uint8_t)state);
    enum file_result result = append(l, buffer_bytes(&l->scratch));
    if (result == FILE_OK)
        change_state(l, row, state);
    return result;
}

/* Where no row is left the file gives its space back: each of its rows is known to be gone before, so that a
 * crash between the two brings none back. */
enum file_result ledger_settled(struct ledger *l) {
    enum file_result result = ledger_sync(l);
    if (result != FILE_OK || l->count > 0 || l->file == NULL || l->end == FIRST)
        return result;
    l->end = FIRST;
    l->head.lost = 0;
    for (unsigned copy = 0; copy < 2 && result == FILE_OK; copy++) {
        result = head_note(l);
        if (result == FILE_OK)
            result = file_sync(l->file);
    }
    if (result == FILE_OK)
        result = file_truncate(l->file, FIRST);
    return result == FILE_OK ? file_sync(l->file) : result;
}

enum file_result ledger_settle(struct ledger *l, uint64_t group_id, struct version at) {
    size_t position = lower_bound(l, group_id, (struct version){0, at.index});
    while (position < l->count) {
        struct row *row = &l->rows[position];
        if (row->row.group_id != group_id || row->row.at.index != at.index)
            break;
        size_t before = l->count;
        if (row->row.state == LEDGER_OVERRULED) {
            bool own = row->row.at.term == at.term;
            enum file_result result = write_state(l, row, own ? LEDGER_GONE : LEDGER_REJECTED);
            if (result != FILE_OK)
                return result;
        }
        position += l->count == before;
    }
    return FILE_OK;
}

enum file_result ledger_judge(struct ledger *l, size_t position, enum ledger_verdict verdict) {
    assert(position < l->count);
    struct row *row = &l->rows[position];
    assert(is_unsettled(row));
    if (verdict == LEDGER_UNDECIDED) {
        row->undecided = true;
        l->unsettled--;
        return FILE_OK;
    }
    return write_state(l, row, verdict == LEDGER_ITS_OWN ? LEDGER_GONE : LEDGER_REJECTED);
}

uint64_t ledger_unsettled(const struct ledger *l, uint64_t group_id, size_t *position) {
    if (l->unsettled == 0)
        return UINT64_MAX;
    size_t from = lower_bound(l, group_id, (struct version){0, 0});
    for (size_t i = *position > from ? *position : from; i < l->count; i++) {
        if (l->rows[i].row.group_id != group_id)
            break;
        *position = i;
        if (is_unsettled(&l->rows[i]))
            return l->rows[i].row.at.index;
    }
    return UINT64_MAX;
}

enum file_result ledger_drop(struct ledger *l, size_t position) {
    assert(position < l->count);
    enum file_result result = write_state(l, &l->rows[position], LEDGER_GONE);
    return result == FILE_OK ? ledger_settled(l) : result;
}

size_t ledger_find(const struct ledger *l, uint64_t group_id, struct version at) {
    return lower_bound(l, group_id, at);
}

bool ledger_created(const struct ledger *l) {
    return l->created;
}

uint64_t ledger_damaged(const struct ledger *l) {
    return l->damaged + l->head.lost;
}

uint64_t ledger_size(const struct ledger *l) {
    return l->end - FIRST;
}

bool ledger_full(const struct ledger *l) {
    return l->full;
}

size_t ledger_count(const struct ledger *l) {
    return l->count;
}

const struct ledger_row *ledger_at(const struct ledger *l, size_t position) {
    assert(position < l->count);
    return &l->rows[position].row;
}

enum file_result ledger_read(struct ledger *l, size_t position, struct buffer *out) {
    assert(position < l->count);
    const struct row *row = &l->rows[position];
    size_t got = 0, size = HEADER_SIZE + ROW_PREFIX + row->size;
    assert(row->offset >= FIRST + HEADER_SIZE + ROW_PREFIX);
    buffer_clear(&l->scratch);
    uint8_t *record = buffer_reserve(&l->scratch, size);
    enum file_result result = file_read(l->file, row->offset - HEADER_SIZE - ROW_PREFIX, record, size, &got);
    if (result != FILE_OK)
        return result;
    struct bytes body = {record + HEADER_SIZE, size - HEADER_SIZE};
    if (got != size || get_u32(record + 4) != body.size ||
        crc32c((uint32_t)body.size, body) != get_u32(record))
        return FILE_CORRUPT;
    buffer_append(out, (struct bytes){body.data + ROW_PREFIX, row->size});
    return FILE_OK;
}

enum file_result ledger_mend_head(struct ledger *l, bool *mended) {
    struct twice t;
    *mended = false;
    if (l->file == NULL)
        return FILE_OK;
    twice_read(l->file, magic, &t);
    bool one = t.copies[0].data != NULL, two = t.copies[1].data != NULL;
    if (one && two && !l->head_doubted)
        return FILE_OK;
    if (one != two)
        l->next = one; /* the damaged one first */
    enum file_result result = mend_heads(l, 2);
    l->head_doubted = result != FILE_OK;
    *mended = result == FILE_OK;
    return result;
}

bool ledger_scrub(struct ledger *l, size_t *position, uint64_t size, uint64_t *bytes, unsigned *damaged) {
    struct buffer payload = {0};
    for (*bytes = 0; *position < l->count && *bytes < size; ++*position) {
        struct row *row = &l->rows[*position];
        buffer_clear(&payload);
        bool whole = ledger_read(l, *position, &payload) == FILE_OK;
        *damaged += !whole && !row->damaged;
        row->damaged = !whole;
        *bytes += HEADER_SIZE + ROW_PREFIX + row->size;
    }
    buffer_release(&payload);
    return *position < l->count;
}
