/* What can be done about a damaged data directory, and doing it (examine.h). */
#include "replication/examine.h"

#include "replication/ledger.h"
#include "replication/message.h"
#include "storage/aside.h"
#include "storage/log_look.h"

#include <inttypes.h>
#include <stdio.h>

/* Above every term in which this node can have voted, and within one step of the others' terms (raft_near):
 * a term without a vote is safe where no vote was given in it, so none that it gave has to be known. */
#define TERM_LEAP (1u << 20)

static bool has_others(const struct examination *x) {
    return x->identity.group_id != 0 && x->identity.other_voters > 0;
}

static void plan_alone(const struct examination *x, struct mend *m) {
    static const char nowhere[] =
        "this node is its group's only voter, as far as it knows, and what it held is "
        "nowhere else: restore the directory from a backup, or move its files away "
        "and lose what was in it";
    if (x->snapshot_bad || x->data_beyond) {
        snprintf(m->refused, sizeof m->refused, "the snapshot or the log cannot be used, and %s", nowhere);
        return;
    }
    if (x->log_bad && x->cut_file[0] == '\0') {
        snprintf(m->refused, sizeof m->refused, "the log cannot be read, and %s", nowhere);
        return;
    }
    m->cut = x->log_bad;
    m->term = x->hard_state_bad || x->hard_state_beyond;
}

struct mend mend_of(const struct examination *x) {
    struct mend m = {.new_term = x->highest_term + TERM_LEAP};
    bool lost = x->snapshot_bad || x->log_bad || x->data_beyond;
    if (x->other_version)
        snprintf(m.refused, sizeof m.refused,
                 "the directory was written by another version of kvnode: start that one");
    else if (!x->known)
        snprintf(
            m.refused, sizeof m.refused,
            "who this node was cannot be known without the file 'identity': restore it from a backup, or "
            "move the directory's files away, and the node starts as a new one");
    else if (x->identity.files == IDENTITY_FILES_GOING)
        m.finish = true;
    else if ((lost || x->hard_state_bad) && has_others(x))
        m.aside = true;
    else if ((lost || x->hard_state_bad) && x->identity.group_id == 0)
        snprintf(m.refused, sizeof m.refused,
                 "this node has joined no group, so no data is lost: start it, and it removes "
                 "these files, or delete the directory");
    else if (lost || x->hard_state_bad)
        plan_alone(x, &m);
    else
        m.term = x->hard_state_beyond;
    if (m.refused[0] == '\0' && !m.aside && !m.finish)
        m.copies = x->identity_worn || x->copies_worn || m.cut;
    if (m.refused[0] == '\0' && x->ledger_bad && !m.aside && !m.finish && !m.cut && !m.term && !m.copies)
        snprintf(
            m.refused, sizeof m.refused,
            "what is damaged in the ledger of rejected writes is lost, and nothing else is damaged: the node "
            "starts, and says so until the ledger is empty");
    return m;
}

static bool failed(const char *doing, enum file_result result, char *why, size_t why_size) {
    snprintf(why, why_size, "%s: %s", doing, file_result_text(result));
    return false;
}

/* As a start does. */
static bool write_copies(struct file_system *fs, const struct examination *x, uint64_t random, char *why,
                         size_t why_size) {
    struct hard_state state;
    struct log *log;
    struct log_report report;
    struct ledger *ledger;
    enum file_result result = identity_save(fs, &x->identity);
    if (result != FILE_OK)
        return failed("writing the file 'identity'", result, why, why_size);
    enum file_result loaded = hard_state_load(fs, &state, why, why_size);
    if (loaded == FILE_OK)
        result = hard_state_save_again(fs, &state);
    if (result != FILE_OK)
        return failed("writing the file 'hard_state'", result, why, why_size);
    struct log_options options = {.fs = fs, .salt = random, .exists = loaded != FILE_NOT_FOUND};
    if (log_open(&options, x->base, &log, &report) != LOG_OK) {
        snprintf(why, why_size, "%s", report.detail);
        return false;
    }
    log_close(log);
    if (ledger_open(fs, 0, &ledger, why, why_size) != FILE_OK)
        return false;
    ledger_close(ledger);
    return true;
}

bool mend_do(struct file_system *fs, struct examination *x, const struct mend *m, uint64_t random, char *why,
             size_t why_size) {
    enum file_result result = FILE_OK;
    if (m->aside)
        result = aside_begin(fs, &x->identity, random);
    if (result == FILE_OK && (m->aside || m->finish))
        result = aside_finish(fs, &x->identity);
    if (result != FILE_OK)
        return failed("setting the files aside", result, why, why_size);
    if (m->cut)
        result = log_cut(fs, x->cut_file, x->cut_offset, random);
    if (result != FILE_OK)
        return failed("cutting the log", result, why, why_size);
    if (m->term)
        result = hard_state_save(fs, &(struct hard_state){.term = m->new_term});
    if (result != FILE_OK)
        return failed("writing the file 'hard_state'", result, why, why_size);
    return !m->copies || write_copies(fs, x, random, why, why_size);
}
