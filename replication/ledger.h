/* The rejected-write ledger: writes of clients that this node had in its log and a new leader overruled.
 *
 * One append-only file, `rejected`, beside the log. Before a log record that holds a client's write is
 * truncated it is put here and synced, keyed by (group id, term, index), unless its client is known to have
 * been told that its condition failed. Its state is `overruled` while
 * another node may still commit it, `rejected` once a different entry is committed at its index, or is bound
 * to be; a row goes when its own entry commits after all. In a group that answers at quorum nothing answered
 * can ever get here.
 *
 * A row goes too when an operator drops it (ledger_drop). The file is emptied when its last row goes.
 *
 * The file takes rows up to its bound, and none is ever dropped for another: at the bound, as on a full disk,
 * the record stays in the log and the node takes nothing in its place until there is room.
 *
 * storage/FORMAT.md draws the file. A torn tail is cut when the file is opened. Damage before the tail is
 * passed over, and said; so is an end that had been synced, by the head of the file, and is gone. */
#ifndef REPLICATION_LEDGER_H
#define REPLICATION_LEDGER_H

#include "storage/directory.h"
#include "storage/entry.h"
#include "storage/file.h"

#define LEDGER_FILE DIRECTORY_LEDGER
/* Bytes of the file up to which rows are taken: more than twice what one leader that continues alone can
 * leave behind, 256 MiB of log, at the smallest writes. A row's own memory is under 100 bytes. */
#ifndef LEDGER_SIZE_MAX
#define LEDGER_SIZE_MAX (1024ull * 1024 * 1024)
#endif

enum ledger_state { LEDGER_OVERRULED = 1, LEDGER_REJECTED, LEDGER_GONE };

struct ledger_row {
    uint64_t group_id;
    struct version at;    /* where it stood */
    uint64_t by_term;     /* the term that overruled it */
    uint64_t recorded_ms; /* Unix time at which it was put here; its client was answered before */
    bool answered;        /* the client was told "ok"; false: unknown */
    enum ledger_state state;
    enum entry_type type; /* ENTRY_PUT or ENTRY_DELETE */
    struct bytes payload; /* the entry; only while adding or reading a row */
};

struct ledger;

/* Makes the file where it is missing, with the first row where the disk is full. size_max: 0 for
 * LEDGER_SIZE_MAX. On failure `why` holds one line with cause and mend. */
enum file_result ledger_open(struct file_system *fs, uint64_t size_max, struct ledger **out, char *why,
                             size_t why_size);
/* Opens a stopped node's ledger read-only; FILE_NOT_FOUND if there is none. */
enum file_result ledger_look(struct file_system *fs, struct ledger **out, char *why, size_t why_size);
void ledger_close(struct ledger *l);

/* Writes a row. A row that is there already (a crash came between this and the truncation) changes nothing.
 * FILE_NO_SPACE: the disk is full, or the file has reached size_max (ledger_full). */
enum file_result ledger_add(struct ledger *l, const struct ledger_row *row);
/* Makes what was added durable. Blocks. */
enum file_result ledger_sync(struct ledger *l);

/* The entry committed at `at.index` is the one of term `at.term`: settles overruled rows at that index. What
 * this and ledger_judge change is durable with ledger_settled. */
enum file_result ledger_settle(struct ledger *l, uint64_t group_id, struct version at);
/* What is known of an overruled row without the committed entry at its index. */
enum ledger_verdict {
    LEDGER_ITS_OWN,   /* its own entry is committed */
    LEDGER_ANOTHER,   /* another one is */
    LEDGER_UNDECIDED, /* it stays overruled, and is not asked about again until the next start */
};
enum file_result ledger_judge(struct ledger *l, size_t position, enum ledger_verdict verdict);
/* Makes changed states durable. Blocks. */
enum file_result ledger_settled(struct ledger *l);
/* The first overruled row of the group, from *position on, that can still be settled: *position; its index,
 * or UINT64_MAX without one. Settling needs no look below it. */
uint64_t ledger_unsettled(const struct ledger *l, uint64_t group_id, size_t *position);
/* Removes the row, durably. Blocks. FILE_NO_SPACE: it stays. */
enum file_result ledger_drop(struct ledger *l, size_t position);

/* Where a copy of the head is damaged on the disk, both are written again: *mended. Blocks. FILE_NO_SPACE: to
 * be tried again. */
enum file_result ledger_mend_head(struct ledger *l, bool *mended);
/* Reads rows again from *position on, until about size bytes are read: *damaged of them were, for the first
 * time. False at the end of the rows. */
bool ledger_scrub(struct ledger *l, size_t *position, uint64_t size, uint64_t *bytes, unsigned *damaged);

/* There was none when it was opened. */
bool ledger_created(const struct ledger *l);
/* Bytes that had been synced and were damaged, or gone, when the file was opened: the rows in them are lost.
 * Those that are gone are told of until the ledger is empty. */
uint64_t ledger_damaged(const struct ledger *l);
uint64_t ledger_size(const struct ledger *l); /* of all that is kept of rows, in bytes */
/* The last row that was to be added would have taken the file past its bound. */
bool ledger_full(const struct ledger *l);
size_t ledger_count(const struct ledger *l); /* rows overruled or rejected */
/* Without payload. Rows in order of group id, index and term. */
const struct ledger_row *ledger_at(const struct ledger *l, size_t position);
/* The first row at or behind that position in the group's log; ledger_count where there is none. */
size_t ledger_find(const struct ledger *l, uint64_t group_id, struct version at);
/* Reads the row's payload from the file into `out`, which the caller releases. FILE_CORRUPT: it is not what
 * was written. */
enum file_result ledger_read(struct ledger *l, size_t position, struct buffer *out);

#endif
