/* Writes that a disk told as done and synced, and that never reached it, or reached it elsewhere.
 *
 * Such a write in the log is told by a batch behind it, which attests what was synced before it was written,
 * by a later segment, or by `log_end` (storage/FORMAT.md). Where none of these is on the disk when the
 * process has ended, because it was the very last sync and the power cut took back the unsynced `log_end`
 * too, the log without it is, byte by byte, one that never had it. The node cannot know, and often nobody
 * can: only the leader knew who had acknowledged what, and it may be gone. Where it is not, it sees a `last`
 * before what was acknowledged, and forgets that (replication/PROTOCOL.md, "Appends"). Those writes, and no
 * others, come to the disk after all: what they would break no storage without a second device can keep. */
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/directory.h"
#include "storage/log_internal.h"
#include "storage/wire.h"
#include "tests/sim/disk_internal.h"

#define LOG_END_FILE "log_end"
#define LOG_END_COPY 4096

void phantom_add(struct sim_disk *disk, struct inode *inode, struct change *change) {
    disk->phantoms =
        disk_grow(disk->phantoms, &disk->phantom_capacity, disk->phantom_count + 1, sizeof *disk->phantoms);
    disk->phantoms[disk->phantom_count++] = (struct phantom){inode, change, false};
}

static bool is_durable(const struct sim_disk *disk, struct log_place to) {
    const struct inode *inode = names_find(&disk->durable, LOG_END_FILE);
    uint8_t end[28];
    for (uint64_t at = 0; inode != NULL && at <= LOG_END_COPY; at += LOG_END_COPY) {
        struct bytes told = {end, 24};
        if (sparse_read(&inode->durable, at, end, sizeof end) != sizeof end ||
            crc32c(0, told) != get_u32(end + 24))
            continue;
        uint64_t number = get_u64(end + 8);
        if (number > to.segment || (number == to.segment && get_u64(end + 16) >= to.offset))
            return true;
    }
    return false;
}

static bool attested_behind(const struct sparse *content, struct log_place to) {
    uint8_t head[RECORD_HEADER_SIZE], batch[16];
    for (uint64_t at = ((uint64_t)to.offset + 7) / 8 * 8; at + sizeof head < content->size; at += 8)
        if (sparse_read(content, at, head, sizeof head) == sizeof head && head[12] == RECORD_BATCH &&
            sparse_read(content, at + sizeof head, batch, sizeof batch) == sizeof batch &&
            get_u64(batch) == to.segment && get_u64(batch + 8) >= to.offset)
            return true;
    return false;
}

/* Something tells that what is missing was there. */
static bool is_told(const struct sim_disk *disk, const struct phantom *phantom) {
    struct log_place to = {.offset = (uint32_t)(phantom->change->offset + phantom->change->size)};
    uint64_t number, newest = 0;
    for (size_t i = 0; i < disk->durable.count; i++) {
        const struct name *name = &disk->durable.names[i];
        if (!directory_number(name->text, DIRECTORY_SEGMENT, &number))
            continue;
        newest = number > newest ? number : newest;
        if (name->inode == phantom->inode)
            to.segment = number;
    }
    return to.segment == 0 || newest > to.segment || is_durable(disk, to) ||
           attested_behind(&phantom->inode->durable, to);
}

void phantoms_see(struct sim_disk *disk) {
    for (size_t i = 0; i < disk->phantom_count; i++) {
        struct phantom *phantom = &disk->phantoms[i];
        struct change *change = phantom->change;
        if (!phantom->seen && change->fate == CHANGE_LOST)
            change->size = sparse_read(&phantom->inode->seen, change->offset, change->data, change->size);
        phantom->seen = true;
    }
}

void phantoms_show(struct sim_disk *disk) {
    for (size_t i = 0; i < disk->phantom_count; i++) {
        const struct phantom *phantom = &disk->phantoms[i];
        const struct change *change = phantom->change;
        struct bytes data = {change->data, change->size};
        if (!is_told(disk, phantom))
            sparse_write(&phantom->inode->durable, change->offset, data);
        else if (change->fate == CHANGE_ELSEWHERE)
            sparse_write(&phantom->inode->durable, change->elsewhere, data);
    }
    for (size_t i = 0; i < disk->phantom_count; i++) {
        inode_see(disk->phantoms[i].inode);
        change_free(disk->phantoms[i].change);
    }
    disk->phantom_count = 0;
    disk_collect(disk);
}

void sim_disk_lie(struct sim_disk *disk, bool elsewhere, struct random *random) {
    disk->hurt = true;
    disk->next_fate = elsewhere ? CHANGE_ELSEWHERE : CHANGE_LOST;
    disk->fate_random = random;
}
