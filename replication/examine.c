#include "replication/examine.h"

#include "replication/ledger.h"
#include "replication/message.h"
#include "replication/replica_internal.h"
#include "storage/directory.h"
#include "storage/log_look.h"
#include "storage/snapshot.h"

#include <bsd/string.h>
#include <err.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *examine_state_text(enum examine_state state) {
    switch (state) {
    case EXAMINE_WHOLE:
        return "whole";
    case EXAMINE_BESIDE:
        return "unused";
    case EXAMINE_WORN:
        return "one copy";
    case EXAMINE_DAMAGED:
        return "damaged";
    case EXAMINE_MISSING:
        return "missing";
    case EXAMINE_BEYOND:
        return "impossible";
    case EXAMINE_OLD:
        return "other version";
    }
    return "unknown";
}

static struct examine_row *row_find(const struct examination *x, const char *name) {
    for (size_t i = 0; i < x->count; i++)
        if (strcmp(x->rows[i].name, name) == 0)
            return &x->rows[i];
    return NULL;
}

static bool there(const struct examination *x, const char *name) {
    return row_find(x, name) != NULL;
}

static struct examine_row *row_of(struct examination *x, const char *name) {
    struct examine_row *found = row_find(x, name);
    if (found != NULL)
        return found;
    if (x->count == x->capacity) {
        x->capacity = x->capacity == 0 ? 32 : x->capacity * 2;
        x->rows = reallocarray(x->rows, x->capacity, sizeof x->rows[0]);
        if (x->rows == NULL)
            err(1, "out of memory");
    }
    struct examine_row *row = &x->rows[x->count++];
    *row = (struct examine_row){0};
    strlcpy(row->name, name, sizeof row->name);
    return row;
}

__attribute__((format(printf, 4, 5))) static void tell(struct examination *x, const char *name,
                                                       enum examine_state state, const char *form, ...) {
    struct examine_row *row = row_of(x, name);
    va_list values;
    va_start(values, form);
    vsnprintf(row->text, sizeof row->text, form, values);
    va_end(values);
    row->state = state;
}

static bool is_beyond(struct version at) {
    return at.term > MESSAGE_TERM_MAX || at.index > MESSAGE_INDEX_MAX;
}

/* The files. */

static void list_name(void *arg, const char *name) {
    struct examination *x = arg;
    if (directory_is_unfinished(name))
        tell(x, name, EXAMINE_BESIDE, "a replacement that was not finished");
    else if (directory_is_aside(name))
        tell(x, name, EXAMINE_BESIDE, "set aside");
    else if (!directory_owns(name))
        x->strangers++;
    else if (strncmp(name, DIRECTORY_SPARE, strlen(DIRECTORY_SPARE)) == 0)
        tell(x, name, EXAMINE_BESIDE, "for a later part of the log");
    else if (strcmp(name, SNAPSHOT_IN_FILE) == 0)
        tell(x, name, EXAMINE_BESIDE, "a snapshot that had not arrived as a whole");
    else if (strcmp(name, "removed") == 0)
        tell(x, name, EXAMINE_WHOLE, "the node was told that it is no member any more");
    else if (strcmp(name, "diverged") == 0)
        tell(x, name, EXAMINE_WHOLE, "the node's state differs from the majority's: it is to be replaced");
    else
        row_of(x, name);
}

/* A file that this user may not read is not damaged. */
static bool may_read(struct file_system *fs, const struct examination *x, char *why, size_t why_size) {
    for (size_t i = 0; i < x->count; i++) {
        struct file *file;
        enum file_result result = file_open(fs, x->rows[i].name, false, &file);
        if (result == FILE_OK)
            file_close(file);
        if (result != FILE_DENIED)
            continue;
        snprintf(why, why_size, "%s: %s: run this as the node's user", x->rows[i].name,
                 file_result_text(result));
        return false;
    }
    return true;
}

static int by_name(const void *a, const void *b) {
    const struct examine_row *one = a, *two = b;
    bool first = strcmp(one->name, IDENTITY_FILE) == 0, second = strcmp(two->name, IDENTITY_FILE) == 0;
    bool beside = one->state == EXAMINE_BESIDE, also = two->state == EXAMINE_BESIDE;
    if (first != second)
        return first ? -1 : 1;
    if (beside != also)
        return beside ? 1 : -1;
    return strcmp(one->name, two->name);
}

static void look_identity(struct file_system *fs, struct examination *x) {
    char why[160];
    const struct identity *i = &x->identity;
    enum file_result result = identity_load(fs, &x->identity, why, sizeof why);
    if (result == FILE_NOT_FOUND)
        tell(x, IDENTITY_FILE, EXAMINE_MISSING, "who this node was cannot be known");
    else if (result != FILE_OK)
        tell(x, IDENTITY_FILE, result == FILE_OLD ? EXAMINE_OLD : EXAMINE_DAMAGED, "%s", why);
    x->other_version |= result == FILE_OLD;
    x->known = result == FILE_OK;
    if (!x->known)
        return;
    x->identity_worn = i->worn;
    char group[64];
    snprintf(group, sizeof group, "group %" PRIu32 " (%016" PRIx64 ")", i->group, i->group_id);
    tell(x, IDENTITY_FILE, i->worn ? EXAMINE_WORN : EXAMINE_WHOLE,
         "node %.*s, incarnation %016" PRIx64 ", %s, cluster '%s', %u other voters%s", NODE_ID_SIZE,
         (const char *)i->node_id, i->incarnation, i->group_id == 0 ? "of no group yet" : group, i->cluster,
         i->other_voters,
         i->files == IDENTITY_FILES_GOING    ? "; its files are being set aside"
         : i->files == IDENTITY_FILES_BESIDE ? "; its files were set aside, and it joins again"
                                             : "");
}

static void look_hard_state(struct file_system *fs, struct examination *x, bool has_data) {
    char why[160];
    struct hard_state h;
    static const uint8_t none[NODE_ID_SIZE];
    enum file_result result = hard_state_load(fs, &h, why, sizeof why);
    if (result == FILE_NOT_FOUND) {
        x->hard_state_bad = has_data;
        if (has_data)
            tell(x, HARD_STATE_NAME, EXAMINE_MISSING, "term and vote are gone");
        return;
    }
    if (result != FILE_OK) {
        x->other_version |= result == FILE_OLD;
        x->hard_state_bad = result != FILE_OLD;
        tell(x, HARD_STATE_NAME, result == FILE_OLD ? EXAMINE_OLD : EXAMINE_DAMAGED, "%s", why);
        return;
    }
    x->hard_state_beyond = h.term > MESSAGE_TERM_MAX;
    x->copies_worn |= h.worn;
    bool voted = memcmp(h.vote_id, none, sizeof none) != 0;
    tell(x, HARD_STATE_NAME,
         x->hard_state_beyond ? EXAMINE_BEYOND
         : h.worn             ? EXAMINE_WORN
                              : EXAMINE_WHOLE,
         "term %" PRIu64 ", %s%.*s%s", h.term, voted ? "voted for " : "no vote", voted ? NODE_ID_SIZE : 0,
         (const char *)h.vote_id, x->hard_state_beyond ? ": no group reaches such a term" : "");
}

static void look_snapshot(struct file_system *fs, struct examination *x) {
    struct snapshot_header header = {0};
    struct buffer state = {0};
    struct configuration configuration;
    struct groups_state groups;
    char why[160];
    struct store *store = store_new(0);
    enum snapshot_result result = snapshot_load(fs, SNAPSHOT_FILE, store, &header, &state, why, sizeof why);
    if (result == SNAPSHOT_OK && !replica_state_decode(header.configuration, &configuration, &groups)) {
        result = SNAPSHOT_CORRUPT;
        snprintf(why, sizeof why, "its configuration cannot be decoded");
    }
    x->snapshot_bad = result == SNAPSHOT_CORRUPT || result == SNAPSHOT_IO_ERROR;
    x->other_version |= result == SNAPSHOT_OLD;
    if (result == SNAPSHOT_OK) {
        bool beyond = is_beyond(header.at);
        x->base = header.at;
        x->data_beyond |= beyond;
        tell(x, SNAPSHOT_FILE, beyond ? EXAMINE_BEYOND : EXAMINE_WHOLE,
             "%" PRIu64 " keys as of index %" PRIu64 ", term %" PRIu64 "%s", store_count(store),
             header.at.index, header.at.term, beyond ? ": no group reaches that" : "");
        if (!beyond)
            x->highest_term = header.at.term;
    } else if (result != SNAPSHOT_NONE) {
        tell(x, SNAPSHOT_FILE, result == SNAPSHOT_OLD ? EXAMINE_OLD : EXAMINE_DAMAGED, "%s", why);
    }
    buffer_release(&state);
    store_free(store);
}

/* The log: each segment by itself, then all of it as a start reads it. */

static void look_segment(struct file_system *fs, struct examination *x, const char *name, uint64_t number) {
    struct segment_look look;
    if (segment_look(fs, number, &look) != FILE_OK) {
        tell(x, name, EXAMINE_DAMAGED, "it cannot be read");
        x->log_bad = true;
        return;
    }
    bool beyond = is_beyond((struct version){.term = look.highest_term, .index = look.highest});
    x->data_beyond |= beyond;
    x->copies_worn |= look.heads == 1;
    x->other_version |= look.heads == 0 && look.old;
    if (!beyond && look.highest_term > x->highest_term)
        x->highest_term = look.highest_term;
    if (look.last > x->last)
        x->last = look.last;
    if (look.heads == 0)
        tell(x, name, look.old ? EXAMINE_OLD : EXAMINE_BESIDE,
             look.old ? "written by another version of kvnode" : "not begun");
    else if (beyond)
        tell(x, name, EXAMINE_BEYOND,
             "it names index %" PRIu64 " and term %" PRIu64 ": no group reaches that", look.highest,
             look.highest_term);
    else if (look.first == 0)
        tell(x, name, look.heads == 1 ? EXAMINE_WORN : EXAMINE_WHOLE, "no entries, after index %" PRIu64,
             look.previous.index);
    else
        tell(x, name, look.heads == 1 ? EXAMINE_WORN : EXAMINE_WHOLE,
             "index %" PRIu64 " to %" PRIu64 ", highest term %" PRIu64, look.first, look.last,
             look.highest_term);
}

static void look_end(struct file_system *fs, struct examination *x) {
    unsigned copies;
    uint64_t segment;
    uint32_t offset;
    if (log_end_look(fs, &copies, &segment, &offset) != FILE_OK || copies == 0)
        return; /* the log's reader says what that means */
    x->copies_worn |= copies == 1;
    tell(x, "log_end", copies == 1 ? EXAMINE_WORN : EXAMINE_WHOLE,
         "durable up to offset %" PRIu32 " of log-%016" PRIx64, offset, segment);
}

static void take_damage(struct examination *x, const struct log_report *report, bool has_segments) {
    x->log_bad = true;
    x->cut_offset = report->offset;
    if (!report->gap)
        snprintf(x->cut_file, sizeof x->cut_file, "%s", report->file);
    if (strcmp(report->file, "log_end") != 0 || !has_segments)
        x->last = report->last > x->base.index ? report->last : x->base.index;
    x->lost = report->seen > x->last ? report->seen : 0;
    if (report->file[0] == '\0')
        return;
    bool gone = !there(x, report->file);
    tell(x, report->file, gone ? EXAMINE_MISSING : EXAMINE_DAMAGED, "%s", report->detail);
}

static void look_whole_log(struct file_system *fs, struct examination *x, bool has_segments) {
    struct log *log = NULL;
    struct log_report report;
    /* A log beside a snapshot that cannot be used is judged by itself. */
    bool use = !x->snapshot_bad && !is_beyond(x->base);
    bool joined = x->known && x->identity.group_id != 0 && x->identity.files == IDENTITY_FILES_OWN;
    struct log_options options = {.fs = fs, .read_only = true, .exists = joined || there(x, HARD_STATE_NAME)};
    struct version base = use ? x->base : (struct version){.index = MESSAGE_INDEX_MAX};
    enum log_result result = log_open(&options, base, &log, &report);
    if (result == LOG_CORRUPT) {
        take_damage(x, &report, has_segments);
        snprintf(x->summary, sizeof x->summary, "%s; before it the log reaches index %" PRIu64, report.detail,
                 x->last);
        return;
    }
    if (result != LOG_OK) {
        x->log_bad |= result != LOG_OLD;
        snprintf(x->summary, sizeof x->summary, "the log cannot be read: %s", report.detail);
        return;
    }
    if (!log_begun(log)) {
        snprintf(x->summary, sizeof x->summary, "there is no log yet");
        log_close(log);
        return;
    }
    x->last = log_last(log);
    int size = snprintf(x->summary, sizeof x->summary,
                        "the log holds index %" PRIu64 " to %" PRIu64 ", last term %" PRIu64
                        "; committed, as far as it tells, up to %" PRIu64,
                        log_first(log), log_last(log), log_last_term(log),
                        report.commit > x->base.index || !use ? report.commit : x->base.index);
    if (report.detail[0] != '\0')
        snprintf(x->summary + size, sizeof x->summary - (size_t)size,
                 "; behind it a torn tail that was never durable, which a start cuts");
    log_close(log);
}

static bool look_log(struct file_system *fs, struct examination *x) {
    bool any = false;
    for (size_t i = 0; i < x->count; i++) {
        uint64_t number;
        char name[FILE_NAME_MAX];
        strlcpy(name, x->rows[i].name, sizeof name);
        if (!directory_number(name, DIRECTORY_SEGMENT, &number))
            continue;
        any = true;
        look_segment(fs, x, name, number);
    }
    look_end(fs, x);
    look_whole_log(fs, x, any);
    return any;
}

static void look_ledger(struct file_system *fs, struct examination *x, bool has_log) {
    struct ledger *ledger;
    char why[200];
    enum file_result result = ledger_look(fs, &ledger, why, sizeof why);
    if (result == FILE_NOT_FOUND) {
        if (has_log)
            tell(x, LEDGER_FILE, EXAMINE_BESIDE, "missing: rejected writes, if there were any, are gone");
        return;
    }
    x->ledger_bad = result != FILE_OK || ledger_damaged(ledger) > 0;
    if (result != FILE_OK)
        tell(x, LEDGER_FILE, EXAMINE_DAMAGED, "%s", why);
    else if (ledger_damaged(ledger) > 0)
        tell(x, LEDGER_FILE, EXAMINE_DAMAGED,
             "%" PRIu64 " bytes are damaged or gone, and the rejected writes in them; %zu can be read",
             ledger_damaged(ledger), ledger_count(ledger));
    else
        tell(x, LEDGER_FILE, EXAMINE_WHOLE, "%zu rejected or overruled writes", ledger_count(ledger));
    ledger_close(ledger);
}

bool examine(struct file_system *fs, struct examination *x, char *why, size_t why_size) {
    *x = (struct examination){0};
    enum file_result result = file_system_list(fs, list_name, x);
    if (result != FILE_OK || x->count == 0) {
        snprintf(why, why_size, "%s",
                 result == FILE_OK ? "it holds no file of a node: name what kvnode was given as -data"
                                   : file_result_text(result));
        examine_release(x);
        return false;
    }
    if (!may_read(fs, x, why, why_size)) {
        examine_release(x);
        return false;
    }
    look_identity(fs, x);
    if (x->known && x->identity.files == IDENTITY_FILES_GOING) {
        snprintf(x->summary, sizeof x->summary, "setting the files aside was interrupted");
    } else {
        look_snapshot(fs, x);
        bool has_log = look_log(fs, x);
        look_hard_state(fs, x, has_log ? x->last > 0 || x->log_bad : there(x, SNAPSHOT_FILE));
        look_ledger(fs, x, has_log);
    }
    qsort(x->rows, x->count, sizeof x->rows[0], by_name);
    x->whole = !x->log_bad;
    for (size_t i = 0; i < x->count; i++)
        x->whole &= x->rows[i].state == EXAMINE_WHOLE || x->rows[i].state == EXAMINE_BESIDE;
    return true;
}

void examine_release(struct examination *x) {
    free(x->rows);
    x->rows = NULL;
    x->count = x->capacity = 0;
}
