/* Whether the directory still has what this replica keeps there. A file that somebody removed can be written
 * and synced like any other as long as it is open: nothing else notices until the next start. */
#include <string.h>

#include "replication/replica_internal.h"

struct look {
    const struct replica *replica;
    size_t found;
};

static void look_at(void *arg, const char *name) {
    struct look *look = arg;
    const struct replica *r = look->replica;
    bool snapshot = r->snapshot.index > 0 && strcmp(name, SNAPSHOT_FILE) == 0;
    bool state = raft_term(r->raft) > 0 && strcmp(name, HARD_STATE_NAME) == 0;
    look->found += snapshot || state || log_is_file(r->log, name);
}

bool replica_files_there(const struct replica *r) {
    struct look look = {.replica = r};
    size_t wanted = log_files(r->log) + (r->snapshot.index > 0) + (raft_term(r->raft) > 0);
    return file_system_list(r->options.fs, look_at, &look) != FILE_OK || look.found == wanted;
}
