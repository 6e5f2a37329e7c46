#include "tests/sim/floors.h"

/* Per 1,000 seeds. What is not named here has no floor: it happens by chance. */
static const struct {
    enum situation situation;
    unsigned floor;
} situations[] = {
#ifdef KVSIM_TINY
    {TALLY_WRITE_DONE, 150000},
    {TALLY_READ_LINEARIZABLE, 30000},
    {TALLY_OUTCOME_TOLD, 12000},
    {TALLY_PAIR_EVICTED, 35000},
    {TALLY_RETRY_WITHOUT_EFFECT, 250},
    {TALLY_RETRY_AFTER_EVICTION, 90},
    {TALLY_OUTCOME_FORGOTTEN, 1800},
    {TALLY_UNDO_PASSED, 40000},
    {TALLY_STATE_REBUILT, 50},
    {TALLY_DIGEST_UNKNOWN, 50000},
    {TALLY_LEDGER_FULL, 7},
    {TALLY_LEDGER_DROPPED, 20},
    {TALLY_WRITE_OVERLOAD, 5000},
    {TALLY_FLIGHTS_FULL, 300000},
    {TALLY_CACHE_LEFT, 200000},
    {TALLY_SNAPSHOT_HALF_TAKEN, 1500},
    {TALLY_SNAPSHOT_HALF_SENT, 170},
    {TALLY_LISTING_SLICED, 3000},
    {TALLY_JUDGED, 250000},
};

#define FAULT_FLOOR 0
#else
    {TALLY_WRITE_DONE, 100000},
    {TALLY_WRITE_FAILED, 15000},
    {TALLY_WRITE_REFUSED, 2000},
    {TALLY_WRITE_UNKNOWN, 9000},
    {TALLY_READ_LINEARIZABLE, 30000},
    {TALLY_READ_STALENESS, 30000},
    {TALLY_LISTING, 1500},
    {TALLY_LISTING_LINEARIZABLE, 4000},
    {TALLY_OUTCOME_TOLD, 12000},
    {TALLY_ENTRY_COMMITTED, 130000},
    {TALLY_RETRY_WITHOUT_EFFECT, 800},
    {TALLY_ELECTION_WON, 1800},
    {TALLY_STEPPED_DOWN, 600},
    {TALLY_ISOLATED_LEADER, 180},
    {TALLY_HANDED_OVER, 120},
    {TALLY_TRUNCATED, 90},
    {TALLY_ADOPTED, 1300},
    {TALLY_REMOVED, 40},
    {TALLY_DISK_FAILED, 110},
    {TALLY_DISK_FULL, 2},
    {TALLY_SNAPSHOT_TAKEN, 2000},
    {TALLY_SNAPSHOT_INSTALLED, 90},
    {TALLY_WRITES_SUPERSEDED, 70},
    {TALLY_WRITE_IN_LEDGER, 50},
    {TALLY_MINORITY_BROKEN, 200},
    {TALLY_RUN_BEYOND, 30},
    {TALLY_START_REFUSED, 250},
    {TALLY_EMPTIED, 200},
    {TALLY_WIPED, 200},
    {TALLY_CLONED, 160},
    {TALLY_DAMAGE_BIT, 40},
    {TALLY_DAMAGE_SECTOR_ZEROS, 40},
    {TALLY_DAMAGE_SECTOR_NOISE, 40},
    {TALLY_DAMAGE_PAGE_ZEROS, 40},
    {TALLY_DAMAGE_PAGE_NOISE, 40},
    {TALLY_DAMAGE_UNREADABLE, 40},
    {TALLY_DAMAGE_SHORT, 20},
    {TALLY_DAMAGE_MISSING, 30},
    {TALLY_DAMAGE_SWAPPED, 15},
    {TALLY_CUT_WITHIN_TURN, 200},
    {TALLY_STATE_FLIPPED, 200},
    {TALLY_STATE_ODD, 400},
    {TALLY_STATE_REPLACED, 200},
    {TALLY_FORGED, 4000},
    {TALLY_ACKS_COUNTED, 80000},
    {TALLY_HEALTHY, 300000},
    {TALLY_METRICS_ASKED, 1000},
    {TALLY_LEADER_TOLD, 130},
    {TALLY_STALENESS_TOLD, 15},
    {TALLY_KEYS_TOLD, 900},
    {TALLY_CLUSTER_ASKED, 1000},
    {TALLY_NODES_ASKED, 4500},
    {TALLY_LEADER_NAMED, 3500},
    {TALLY_DURABLE_TOLD, 600},
    {TALLY_SILENCE_TOLD, 50},
    {TALLY_DECIDER_NAMED, 200000},
    {TALLY_DEGRADED_TOLD, 200},
    {TALLY_RETRY_AFTER, 7000},
    {TALLY_LEADER_HINTED, 8000},
    {TALLY_STANDING_LEADER_HINTED, 20},
    {TALLY_POSITION_KEPT, 200},
    {TALLY_LEDGER_ROW, 200},
    {TALLY_JUDGED, 200000},
};

#define FAULT_FLOOR 200 /* of each fault but that of --with lie */
#endif

static unsigned miss(uint64_t met, uint64_t floor, const char *what, uint64_t seeds, FILE *out) {
    uint64_t least = floor * seeds / 1000;
    if (met >= least)
        return 0;
    fprintf(out, "%s: %llu times in %llu seeds, and at least %llu are asked for\n", what,
            (unsigned long long)met, (unsigned long long)seeds, (unsigned long long)least);
    return 1;
}

unsigned floors_missed(const struct tally *tally, const unsigned faults[FAULTS], uint64_t seeds, FILE *out) {
    unsigned missed = 0;
    for (size_t i = 0; i < sizeof situations / sizeof situations[0]; i++)
        missed += miss(tally->counts[situations[i].situation], situations[i].floor,
                       situation_text(situations[i].situation), seeds, out);
    for (int i = 0; i < FAULTS; i++)
        missed +=
            i == FAULT_LIE ? 0 : miss(faults[i], FAULT_FLOOR, chaos_fault_text((enum fault)i), seeds, out);
    return missed;
}
