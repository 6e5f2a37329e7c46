/* What tests of a whole replica need of its disk and its host, and do not look at. */
#ifndef TESTS_UNIT_REPLICATION_REPLICA_PARTS_H
#define TESTS_UNIT_REPLICATION_REPLICA_PARTS_H

#include "cluster/groups.h"
#include "replication/configuration.h"
#include "storage/file.h"
#include "storage/snapshot.h"

#include <stdlib.h>

static inline bool none_unanswered(void *arg, struct version at) {
    (void)arg;
    (void)at;
    return false;
}

static inline void ignore_overruled(void *arg, uint64_t index) {
    (void)arg;
    (void)index;
}

/* As a durable file of this name. */
static inline void save(struct file_system *fs, const char *name, struct bytes content) {
    struct file *file;
    if (file_open(fs, name, true, &file) != FILE_OK || file_write(file, 0, content) != FILE_OK ||
        file_sync(file) != FILE_OK || file_system_sync(fs) != FILE_OK)
        abort();
    file_close(file);
}

/* The snapshot file of a store that ends at `at`, with this configuration and no ring. */
static inline void write_snapshot(struct buffer *out, struct store *store, struct version at,
                                  const struct configuration *configuration) {
    struct groups_state groups = {0};
    struct buffer encoded = {0}, state = {0};
    configuration_encode(&encoded, configuration);
    write_bytes32(&state, buffer_bytes(&encoded));
    groups_state_write(&state, &groups);
    struct snapshot_header header = {at, store_count(store), buffer_bytes(&state), 1, 0, 0};
    struct snapshot_writer *writer = snapshot_writer_new(store, &header);
    while (!snapshot_writer_step(writer, 65536, out))
        ;
    snapshot_writer_free(writer);
    buffer_release(&encoded);
    buffer_release(&state);
}

#endif
