/* Writing a snapshot while the store changes.
 *
 * The state at `at` is a set of (key, version) with every record's order <= at.index (record.h). Each of its
 * records leaves the index at most in one way at a time, and is caught there:
 *
 *     before the snapshot began, by an entry after `at`   it is in the undo list: put out at once
 *     while it runs, before the scan came by              the store calls `replaced`: put out then
 *     never, or after the scan came by                    the scan puts it out
 *
 * The scan leaves out every record with a higher order, so nothing beyond `at` is ever written. Undoing
 * entries brings records back that may have been put out already, and the scan then puts them out again: the
 * same bytes, which a reader takes once. What `replaced` puts out waits in memory until the next step, so
 * whoever writes a snapshot steps it at least as fast as entries are applied.
 *
 * Answered pairs go first, oldest first. The table drops its oldest for good, and tells of it before: where
 * that row's turn has not come yet, all before it have been put out, so it is put out then, and the order
 * holds. */
#include "storage/snapshot.h"

#include "storage/crc32c.h"
#include "storage/snapshot_format.h"
#include "storage/store_parts.h"
#include "storage/wire.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

/* A record passed by costs time even if nothing is put out. */
#define VISIT_COST 32

struct snapshot_writer {
    struct store *store;
    struct version at;
    struct buffer from;     /* keys before it have been scanned: the last one and a NUL */
    bool scanned;           /* all of them */
    struct buffer records;  /* of the block being filled: those the scan came by, in order */
    struct buffer strays;   /* and of one with those that did not wait for it */
    struct buffer sealed;   /* blocks that wait to be taken */
    struct buffer answered; /* rows of the block being filled */
    uint64_t
        answered_until; /* rows of orders up to this one have been put out, or are not part of the state */
    bool answered_all;
    uint64_t count; /* of records put out */
    uint32_t chain; /* checksum over the magic and the blocks' headers */
};

static void seal(struct snapshot_writer *writer, enum snapshot_block type, struct bytes content) {
    uint8_t header[SNAPSHOT_BLOCK_HEADER_SIZE] = {(uint8_t)type};
    assert(content.size <= SNAPSHOT_BLOCK_MAX);
    put_u32(header + 1, (uint32_t)content.size);
    put_u32(header + 5, crc32c(crc32c(0, (struct bytes){header, 5}), content));
    writer->chain = crc32c(writer->chain, (struct bytes){header, sizeof header});
    buffer_append(&writer->sealed, (struct bytes){header, sizeof header});
    buffer_append(&writer->sealed, content);
}

static void seal_records(struct snapshot_writer *writer, struct buffer *records) {
    if (buffer_size(records) > 0)
        seal(writer, SNAPSHOT_BLOCK_RECORDS, buffer_bytes(records));
    buffer_clear(records);
}

static void seal_answered(struct snapshot_writer *writer) {
    if (buffer_size(&writer->answered) > 0)
        seal(writer, SNAPSHOT_BLOCK_ANSWERED, buffer_bytes(&writer->answered));
    buffer_clear(&writer->answered);
}

static void seal_header(struct snapshot_writer *writer, const struct snapshot_header *header,
                        uint64_t digest) {
    struct bytes magic = {(const uint8_t *)SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_SIZE};
    struct buffer content = {0};
    buffer_append(&writer->sealed, magic);
    writer->chain = crc32c(0, magic);
    write_u64(&content, header->at.index);
    write_u64(&content, header->at.term);
    write_u64(&content, store_count(writer->store));
    write_u64(&content, header->configuration_index);
    write_u64(&content, header->cluster_ms);
    write_u64(&content, digest);
    write_bytes32(&content, header->configuration);
    seal(writer, SNAPSHOT_BLOCK_HEADER, buffer_bytes(&content));
    buffer_release(&content);
}

static void seal_end(struct snapshot_writer *writer) {
    struct buffer content = {0};
    write_u64(&content, writer->count);
    write_u32(&content, writer->chain);
    seal(writer, SNAPSHOT_BLOCK_END, buffer_bytes(&content));
    buffer_release(&content);
}

/* The bytes put out: none for a record that is not part of the state. */
static size_t put_out(struct snapshot_writer *writer, struct buffer *to, const struct record *record) {
    if (record_order(record) > writer->at.index)
        return 0;
    size_t size = record_size(record);
    buffer_append(to, (struct bytes){(const uint8_t *)record, size});
    writer->count++;
    if (buffer_size(to) >= SNAPSHOT_BLOCK_SIZE)
        seal_records(writer, to);
    return size;
}

static void replaced(void *arg, const struct record *record) {
    struct snapshot_writer *writer = arg;
    if (!writer->scanned && bytes_compare(record_key(record), buffer_bytes(&writer->from)) >= 0)
        put_out(writer, &writer->strays, record);
}

/* The bytes put out. */
static size_t put_answered(struct snapshot_writer *writer, const struct retries_row *row) {
    size_t before = buffer_size(&writer->answered), size;
    retries_row_encode(&writer->answered, row);
    writer->answered_until = retries_row_order(row);
    size = buffer_size(&writer->answered) - before;
    if (buffer_size(&writer->answered) >= SNAPSHOT_BLOCK_SIZE)
        seal_answered(writer);
    return size;
}

static void dropping(void *arg, const struct retries_row *row) {
    struct snapshot_writer *writer = arg;
    uint64_t order = retries_row_order(row);
    if (!writer->answered_all && order > writer->answered_until && order <= writer->at.index)
        put_answered(writer, row);
}

static void begin_answered(struct snapshot_writer *writer) {
    struct retries *retries = &writer->store->retries;
    size_t from, to;
    retries_range(retries, writer->at.index, &from, &to);
    writer->answered_until = from > 0 ? retries_row_order(retries_at(retries, from - 1)) : 0;
    retries->dropping = dropping;
    retries->dropping_arg = writer;
}

/* What is left of the budget. */
static size_t step_answered(struct snapshot_writer *writer, size_t budget) {
    const struct retries *retries = &writer->store->retries;
    size_t position = retries_until(retries, writer->answered_until);
    size_t to = retries_until(retries, writer->at.index);
    while (position < to) {
        size_t size = put_answered(writer, retries_at(retries, position++));
        if (size >= budget)
            return 0;
        budget -= size;
    }
    writer->answered_all = true;
    seal_answered(writer);
    return budget;
}

struct snapshot_writer *snapshot_writer_new(struct store *store, const struct snapshot_header *header) {
    assert(store->replaced == NULL);
    assert(header->at.index <= store->applied.index);
    uint64_t digest;
    if (!store_digest_at(store, header->at.index, &digest))
        return NULL;
    struct snapshot_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        err(1, "out of memory for a snapshot");
    writer->store = store;
    writer->at = header->at;
    seal_header(writer, header, digest);
    for (size_t i = 0; i < store->undo.count; i++) {
        const struct undo_item *item = undo_at(&store->undo, i);
        if (item->index > header->at.index && item->out != NULL)
            put_out(writer, &writer->strays, item->out);
    }
    begin_answered(writer);
    store->replaced = replaced;
    store->replaced_arg = writer;
    store->snapshot_index = header->at.index;
    return writer;
}

struct slice {
    struct snapshot_writer *writer;
    size_t left;
};

static bool scan_each(void *arg, struct record *record) {
    struct slice *slice = arg;
    size_t cost = VISIT_COST + put_out(slice->writer, &slice->writer->records, record);
    if (cost < slice->left) {
        slice->left -= cost;
        return true;
    }
    buffer_clear(&slice->writer->from);
    buffer_append(&slice->writer->from, record_key(record));
    write_u8(&slice->writer->from, 0);
    return false;
}

bool snapshot_writer_step(struct snapshot_writer *writer, size_t budget, struct buffer *out) {
    assert(budget > 0);
    size_t waiting = buffer_size(&writer->sealed);
    size_t left = waiting < budget ? budget - waiting : 0;
    if (!writer->answered_all && left > 0)
        left = step_answered(writer, left);
    if (!writer->scanned && left > 0) {
        struct slice slice = {writer, left};
        writer->scanned = index_walk(&writer->store->index, buffer_bytes(&writer->from), scan_each, &slice);
        if (writer->scanned) {
            seal_records(writer, &writer->records);
            seal_records(writer, &writer->strays);
            seal_end(writer);
        }
    }
    struct bytes sealed = buffer_bytes(&writer->sealed);
    if (sealed.size > budget)
        sealed.size = budget;
    buffer_append(out, sealed);
    buffer_consume(&writer->sealed, sealed.size);
    return writer->scanned && buffer_size(&writer->sealed) == 0;
}

void snapshot_writer_free(struct snapshot_writer *writer) {
    if (writer == NULL)
        return;
    assert(writer->store->replaced_arg == writer);
    writer->store->replaced = NULL;
    writer->store->replaced_arg = NULL;
    writer->store->retries.dropping = NULL;
    writer->store->retries.dropping_arg = NULL;
    buffer_release(&writer->from);
    buffer_release(&writer->records);
    buffer_release(&writer->strays);
    buffer_release(&writer->sealed);
    buffer_release(&writer->answered);
    free(writer);
}
