/* Reading a snapshot: foreign bytes, verified block by block before anything in them is believed. A radix
 * tree has nothing to size ahead, so the header's count stays a hint for whoever shows progress.
 *
 * Most blocks hold what the writer's scan came by: records in order, behind those of all such blocks before.
 * They fill the index as one run. The records of every other block are put into it afterwards. */
#include "storage/snapshot.h"

#include "storage/crc32c.h"
#include "storage/snapshot_format.h"
#include "storage/store_parts.h"
#include "storage/wire.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#define STRAYS_WARMED 32

struct source {
    const char *name;
    struct file *file;
    uint64_t offset, size;
    struct buffer block; /* the content of the last block read */
    uint32_t chain;
    uint64_t records;
    struct version at;
    uint64_t answered;   /* order of the last answered pair read */
    struct store *store; /* NULL: verify only */
    struct index_run *run;
    struct record **strays; /* in the slab and not in the run */
    size_t stray_count, stray_capacity;
    char *why;
    size_t why_size;
};

static enum snapshot_result corrupt(const struct source *source, const char *what) {
    snprintf(source->why, source->why_size, "%s: %s, before byte %llu", source->name, what,
             (unsigned long long)source->offset);
    return SNAPSHOT_CORRUPT;
}

static enum snapshot_result failed(const struct source *source, enum file_result result) {
    snprintf(source->why, source->why_size, "%s: %s", source->name, file_result_text(result));
    return SNAPSHOT_IO_ERROR;
}

static enum snapshot_result read_exactly(struct source *source, uint8_t *to, size_t size) {
    if (source->size - source->offset < size)
        return corrupt(source, "the file ends early");
    size_t got = 0;
    if (file_read(source->file, source->offset, to, size, &got) != FILE_OK)
        return corrupt(source, "the disk cannot read it");
    if (got < size)
        return corrupt(source, "the file ends early");
    source->offset += size;
    return SNAPSHOT_OK;
}

static enum snapshot_result read_magic(struct source *source) {
    uint8_t magic[SNAPSHOT_MAGIC_SIZE];
    enum snapshot_result result = read_exactly(source, magic, sizeof magic);
    if (result != SNAPSHOT_OK)
        return result;
    if (memcmp(magic, SNAPSHOT_MAGIC_OLD, SNAPSHOT_MAGIC_SIZE) == 0) {
        snprintf(source->why, source->why_size,
                 "%s: written by an older version of kvnode, whose format this one does not read",
                 source->name);
        return SNAPSHOT_OLD;
    }
    if (memcmp(magic, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_SIZE) != 0)
        return corrupt(source, "not a snapshot, or of a later version of kvnode");
    source->chain = crc32c(0, (struct bytes){magic, sizeof magic});
    return SNAPSHOT_OK;
}

/* Reads and verifies the next block into source->block. The chain does not hold an end block's own header. */
static enum snapshot_result read_block(struct source *source, uint8_t *type) {
    uint8_t header[SNAPSHOT_BLOCK_HEADER_SIZE];
    enum snapshot_result result = read_exactly(source, header, sizeof header);
    if (result != SNAPSHOT_OK)
        return result;
    uint32_t size = get_u32(header + 1);
    if (size == 0 || size > SNAPSHOT_BLOCK_MAX || size > source->size - source->offset)
        return corrupt(source, "a block's size is 0, past its limit or past the file's end");
    buffer_clear(&source->block);
    result = read_exactly(source, buffer_reserve(&source->block, size), size);
    if (result != SNAPSHOT_OK)
        return result;
    buffer_grow(&source->block, size);
    uint32_t checksum = crc32c(crc32c(0, (struct bytes){header, 5}), buffer_bytes(&source->block));
    if (checksum != get_u32(header + 5))
        return corrupt(source, "a block's checksum does not match");
    *type = header[0];
    if (*type != SNAPSHOT_BLOCK_END)
        source->chain = crc32c(source->chain, (struct bytes){header, sizeof header});
    return SNAPSHOT_OK;
}

static enum snapshot_result read_header(struct source *source, struct snapshot_header *out,
                                        struct buffer *configuration) {
    uint8_t type;
    enum snapshot_result result = read_block(source, &type);
    if (result != SNAPSHOT_OK)
        return result;
    if (type != SNAPSHOT_BLOCK_HEADER)
        return corrupt(source, "the first block is not a header");
    struct reader r = reader_of(buffer_bytes(&source->block));
    *out = (struct snapshot_header){.at.index = read_u64(&r)};
    out->at.term = read_u64(&r);
    out->count = read_u64(&r);
    out->configuration_index = read_u64(&r);
    out->cluster_ms = read_u64(&r);
    out->digest = read_u64(&r);
    struct bytes content = read_bytes32(&r);
    if (!reader_done(&r) || out->configuration_index > out->at.index)
        return corrupt(source, "the header is malformed");
    buffer_append(configuration, content);
    if (content.size > 0)
        out->configuration =
            (struct bytes){configuration->data + configuration->end - content.size, content.size};
    source->at = out->at;
    return SNAPSHOT_OK;
}

/* The term of a moved record is another group's. */
static bool is_newer(const struct source *source, const struct record *record) {
    struct store_record view;
    record_view(record, &view);
    return store_record_order(&view) > source->at.index ||
           (view.moved == 0 && view.version.term > source->at.term);
}

/* *rising: so are the keys, from one to the next. */
static enum snapshot_result check_records(struct source *source, bool *rising) {
    struct bytes left = buffer_bytes(&source->block), before = {0}, key;
    *rising = true;
    while (left.size > 0) {
        size_t size = record_check(left);
        if (size == 0)
            return corrupt(source, "a record is malformed");
        const struct record *record = (const struct record *)left.data;
        if (is_newer(source, record))
            return corrupt(source, "a record is newer than the snapshot");
        key = record_key(record);
        *rising = *rising && bytes_compare(before, key) < 0;
        before = key;
        source->records++;
        left.data += size;
        left.size -= size;
    }
    return SNAPSHOT_OK;
}

static void add_stray(struct source *source, struct record *record) {
    if (source->stray_count == source->stray_capacity) {
        source->stray_capacity = source->stray_capacity * 2 + 1024;
        source->strays = reallocarray(source->strays, source->stray_capacity, sizeof(struct record *));
        if (source->strays == NULL)
            err(1, "out of memory for a snapshot");
    }
    source->strays[source->stray_count++] = record;
}

static enum snapshot_result read_records(struct source *source) {
    bool rising;
    enum snapshot_result result = check_records(source, &rising);
    if (result != SNAPSHOT_OK || source->store == NULL)
        return result;
    struct bytes left = buffer_bytes(&source->block);
    while (left.size > 0) {
        size_t size = record_size((const struct record *)left.data);
        struct record *record = record_copy(&source->store->slab, (struct bytes){left.data, size});
        rising = rising && store_run_add(source->store, source->run, record);
        if (!rising)
            add_stray(source, record);
        left.data += size;
        left.size -= size;
    }
    return SNAPSHOT_OK;
}

/* False for a second record of the same key with another version; the same one again is no error. */
static bool put_stray(struct store *store, struct record *record) {
    struct record *old = store_put_record(store, record);
    if (old == NULL)
        return true;
    size_t size = record_size(record);
    bool same = record_size(old) == size && memcmp(old, record, size) == 0;
    record_free(&store->slab, old);
    return same;
}

static enum snapshot_result put_strays(struct source *source) {
    struct bytes keys[STRAYS_WARMED];
    for (size_t from = 0, to; from < source->stray_count; from = to) {
        for (to = from; to < source->stray_count && to - from < STRAYS_WARMED; to++)
            keys[to - from] = record_key(source->strays[to]);
        index_warm(&source->store->index, keys, to - from);
        for (size_t i = from; i < to; i++)
            if (!put_stray(source->store, source->strays[i]))
                return corrupt(source, "a key is there twice and not alike");
    }
    return SNAPSHOT_OK;
}

static enum snapshot_result read_answered(struct source *source) {
    struct bytes left = buffer_bytes(&source->block);
    while (left.size > 0) {
        struct store_answer answer, known;
        size_t size = retries_decode(left, &answer);
        if (size == 0)
            return corrupt(source, "an answered request is malformed");
        uint64_t order = answer.moved != 0 ? answer.moved : answer.at.index;
        if (order > source->at.index || (answer.moved == 0 && answer.at.term > source->at.term))
            return corrupt(source, "an answered request is newer than the snapshot");
        if (version_compare(answer.current, answer.at) > 0)
            return corrupt(source, "an answered request tells of a later version");
        if (order <= source->answered)
            return corrupt(source, "answered requests are out of order");
        source->answered = order;
        if (source->store != NULL) {
            struct retries *retries = &source->store->retries;
            if (retries_find(retries, answer.client, answer.request, &known))
                return corrupt(source, "an answered request is there twice");
            retries_add(retries, &answer);
        }
        left.data += size;
        left.size -= size;
    }
    return SNAPSHOT_OK;
}

static enum snapshot_result read_end(struct source *source) {
    struct reader r = reader_of(buffer_bytes(&source->block));
    uint64_t records = read_u64(&r);
    uint32_t chain = read_u32(&r);
    if (!reader_done(&r))
        return corrupt(source, "the end block is malformed");
    if (records != source->records)
        return corrupt(source, "records are missing");
    if (chain != source->chain)
        return corrupt(source, "blocks are missing or out of order");
    if (source->offset != source->size)
        return corrupt(source, "something follows the end block");
    return SNAPSHOT_OK;
}

static enum snapshot_result read_next(struct source *source, bool *ended) {
    char what[64];
    uint8_t type;
    enum snapshot_result result = read_block(source, &type);
    if (result != SNAPSHOT_OK)
        return result;
    *ended = type == SNAPSHOT_BLOCK_END;
    if (type == SNAPSHOT_BLOCK_END)
        return read_end(source);
    if (type == SNAPSHOT_BLOCK_RECORDS)
        return read_records(source);
    if (type == SNAPSHOT_BLOCK_ANSWERED)
        return read_answered(source);
    snprintf(what, sizeof what, "a block of unknown type %u", type);
    return corrupt(source, what);
}

static enum snapshot_result read_blocks(struct source *source) {
    enum snapshot_result result = SNAPSHOT_OK;
    for (bool ended = false; !ended && result == SNAPSHOT_OK;)
        result = read_next(source, &ended);
    return result;
}

static enum snapshot_result read_file(struct file_system *fs, struct source *source,
                                      struct snapshot_header *out, struct buffer *configuration) {
    enum file_result opened = file_open(fs, source->name, false, &source->file);
    if (opened == FILE_NOT_FOUND) {
        snprintf(source->why, source->why_size, "%s: no such file", source->name);
        return SNAPSHOT_NONE;
    }
    if (opened != FILE_OK)
        return failed(source, opened);
    enum file_result sized = file_size(source->file, &source->size);
    enum snapshot_result result = sized == FILE_OK ? read_magic(source) : failed(source, sized);
    if (result == SNAPSHOT_OK)
        result = read_header(source, out, configuration);
    if (result == SNAPSHOT_OK)
        result = read_blocks(source);
    file_close(source->file);
    buffer_release(&source->block);
    return result;
}

enum snapshot_result snapshot_load(struct file_system *fs, const char *name, struct store *store,
                                   struct snapshot_header *out, struct buffer *configuration, char *why,
                                   size_t why_size) {
    assert(store_count(store) == 0);
    store_clear(store);
    struct source source = {.name = name, .store = store, .why = why, .why_size = why_size};
    source.run = index_run_new(&store->index);
    enum snapshot_result result = read_file(fs, &source, out, configuration);
    index_run_end(source.run);
    if (result == SNAPSHOT_OK)
        result = put_strays(&source);
    if (result == SNAPSHOT_OK && store_digest(store) != out->digest)
        result = corrupt(&source, "the content does not give the digest that it is to have");
    free(source.strays);
    if (result != SNAPSHOT_OK) {
        store_clear(store);
        return result;
    }
    store->applied = out->at;
    undo_forget(&store->undo, &store->slab, out->at.index);
    retries_forget(&store->retries, out->at.index);
    return SNAPSHOT_OK;
}

enum snapshot_result snapshot_verify(struct file_system *fs, const char *name, struct snapshot_header *out,
                                     struct buffer *configuration, char *why, size_t why_size) {
    struct source source = {.name = name, .why = why, .why_size = why_size};
    return read_file(fs, &source, out, configuration);
}

struct snapshot_check {
    struct source source;
    struct buffer configuration;
    bool began, ended;
};

struct snapshot_check *snapshot_check_new(const char *name, struct file *file) {
    uint64_t size;
    if (file_size(file, &size) != FILE_OK)
        return NULL;
    struct snapshot_check *check = calloc(1, sizeof *check);
    if (check == NULL)
        err(1, "out of memory for reading a snapshot");
    check->source = (struct source){.name = name, .file = file, .size = size};
    return check;
}

enum snapshot_result snapshot_check_to(struct snapshot_check *check, uint64_t offset, char *why,
                                       size_t why_size) {
    struct source *source = &check->source;
    struct snapshot_header header;
    enum snapshot_result result = SNAPSHOT_OK;
    source->why = why;
    source->why_size = why_size;
    if (!check->began) {
        result = read_magic(source);
        if (result == SNAPSHOT_OK)
            result = read_header(source, &header, &check->configuration);
        check->began = true;
    }
    while (result == SNAPSHOT_OK && !check->ended && source->offset < offset)
        result = read_next(source, &check->ended);
    return result;
}

uint64_t snapshot_check_offset(const struct snapshot_check *check) {
    return check->source.offset;
}

bool snapshot_check_ended(const struct snapshot_check *check) {
    return check->ended;
}

void snapshot_check_free(struct snapshot_check *check) {
    if (check == NULL)
        return;
    buffer_release(&check->source.block);
    buffer_release(&check->configuration);
    free(check);
}
