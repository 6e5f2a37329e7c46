/* How often each situation came up in a run: what it has tried. floors.c says how often a batch of seeds must
 * meet each, or it has shown less than it claims. */
#ifndef TESTS_SIM_TALLY_H
#define TESTS_SIM_TALLY_H

#include <stdint.h>

#define SITUATIONS(X)                                                                                        \
    X(WRITE_DONE, "write-done")                                                                              \
    X(WRITE_FAILED, "condition-failed")                                                                      \
    X(WRITE_REFUSED, "write-refused")                                                                        \
    X(WRITE_UNKNOWN, "write-unknown")                                                                        \
    X(READ, "read")                                                                                          \
    X(READ_LINEARIZABLE, "linearizable-read")                                                                \
    X(READ_STALENESS, "read-with-staleness")                                                                 \
    X(LISTING, "listing")                                                                                    \
    X(LISTING_LINEARIZABLE, "linearizable-listing")                                                          \
    X(OUTCOME_TOLD, "outcome-told")                                                                          \
    X(ENTRY_COMMITTED, "entry-committed")                                                                    \
    X(RETRY_WITHOUT_EFFECT, "retry-without-effect")                                                          \
    X(ELECTION_WON, "election-won")                                                                          \
    X(STEPPED_DOWN, "leader-stepped-down")                                                                   \
    X(ISOLATED_LEADER, "leader-without-majority")                                                            \
    X(HANDED_OVER, "leadership-handed-over")                                                                 \
    X(TRUNCATED, "log-truncated")                                                                            \
    X(ADOPTED, "node-joined")                                                                                \
    X(REMOVED, "member-removed")                                                                             \
    X(DISK_FAILED, "node-ended-by-its-disk")                                                                 \
    X(DISK_FULL, "leader-refuses-for-its-disk")                                                              \
    X(SNAPSHOT_TAKEN, "snapshot-taken")                                                                      \
    X(SNAPSHOT_INSTALLED, "snapshot-installed")                                                              \
    X(WRITES_SUPERSEDED, "writes-superseded")                                                                \
    X(WRITE_IN_LEDGER, "write-in-ledger")                                                                    \
    X(STATE_FLIPPED, "state-flipped")                                                                        \
    X(STATE_ODD, "odd-state-told")                                                                           \
    X(STATE_REPLACED, "odd-state-replaced")                                                                  \
    X(ACKS_COUNTED, "acks-counted")                                                                          \
    X(METRICS_ASKED, "metrics-checked")                                                                      \
    X(LEADER_TOLD, "leader-told-in-metrics")                                                                 \
    X(STALENESS_TOLD, "staleness-told-in-metrics")                                                           \
    X(KEYS_TOLD, "keys-told-in-metrics")                                                                     \
    X(DAMAGE_TOLD, "damage-told-in-metrics")                                                                 \
    X(CLUSTER_ASKED, "cluster-checked")                                                                      \
    X(NODES_ASKED, "members-checked")                                                                        \
    X(LEADER_NAMED, "leader-named")                                                                          \
    X(DURABLE_TOLD, "member's-disk-checked")                                                                 \
    X(SILENCE_TOLD, "member's-silence-checked")                                                              \
    X(DECIDER_NAMED, "decider-checked")                                                                      \
    X(DEGRADED_TOLD, "degraded-checked")                                                                     \
    X(RETRY_AFTER, "retry-after-checked")                                                                    \
    X(LEADER_HINTED, "hint-checked")                                                                         \
    X(STANDING_LEADER_HINTED, "standing-leader-hinted")                                                      \
    X(POSITION_KEPT, "unknown-write's-position-checked")                                                     \
    X(LEDGER_ROW, "ledger-row-checked")                                                                      \
    X(HEALTHY, "healthy-node-checked")                                                                       \
    X(FORGED, "forged-frame-taken")                                                                          \
    X(MINORITY_BROKEN, "minority-broken")                                                                    \
    X(RUN_BEYOND, "run-beyond")                                                                              \
    X(START_REFUSED, "start-refused")                                                                        \
    X(EMPTIED, "emptied-by-operator")                                                                        \
    X(WIPED, "wiped")                                                                                        \
    X(CLONED, "cloned")                                                                                      \
    X(WEAK_WRITE_LOST_WITH_DISK, "weak-write-lost-with-its-disk")                                            \
    X(DAMAGE_BIT, "bit") /* in the order of enum sim_damage */                                               \
    X(DAMAGE_SECTOR_ZEROS, "sector-of-zeros")                                                                \
    X(DAMAGE_SECTOR_NOISE, "sector-of-noise")                                                                \
    X(DAMAGE_PAGE_ZEROS, "page-of-zeros")                                                                    \
    X(DAMAGE_PAGE_NOISE, "page-of-noise")                                                                    \
    X(DAMAGE_UNREADABLE, "unreadable-sector")                                                                \
    X(DAMAGE_SHORT, "short-file")                                                                            \
    X(DAMAGE_MISSING, "missing-file")                                                                        \
    X(DAMAGE_SWAPPED, "swapped-files")                                                                       \
    X(WRITE_LOST, "lost-write")                                                                              \
    X(WRITE_MISDIRECTED, "misdirected-write")                                                                \
    X(CUT_WITHIN_TURN, "power-cut-within-turn")                                                              \
    X(JUDGED, "operation-judged")                                                                            \
    X(PAIR_EVICTED, "pair-evicted")                                                                          \
    X(RETRY_AFTER_EVICTION, "retry-after-eviction")                                                          \
    X(OUTCOME_FORGOTTEN, "outcome-forgotten")                                                                \
    X(UNDO_PASSED, "undo-bound-passed")                                                                      \
    X(STATE_REBUILT, "state-rebuilt-beyond-undo")                                                            \
    X(DIGEST_UNKNOWN, "digest-beyond-bound")                                                                 \
    X(LEDGER_FULL, "ledger-full")                                                                            \
    X(LEDGER_DROPPED, "ledger-row-dropped")                                                                  \
    X(LEDGER_RETURNED, "dropped-row-returned")                                                               \
    X(WRITE_OVERLOAD, "uncommitted-log-full")                                                                \
    X(FLIGHTS_FULL, "appends-in-flight-full")                                                                \
    X(CACHE_LEFT, "follower-behind-cache")                                                                   \
    X(SNAPSHOT_HALF_TAKEN, "snapshot-half-taken")                                                            \
    X(SNAPSHOT_HALF_SENT, "snapshot-half-sent")                                                              \
    X(LISTING_SLICED, "listing-in-slices")

enum situation {
#define SITUATION_NAME(name, text) TALLY_##name,
    SITUATIONS(SITUATION_NAME)
#undef SITUATION_NAME
        SITUATION_COUNT
};

struct tally {
    uint64_t counts[SITUATION_COUNT];
};

const char *situation_text(enum situation situation);
void tally_add(struct tally *to, const struct tally *from);

#endif
