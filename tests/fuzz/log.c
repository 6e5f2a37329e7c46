/* The log on a damaged or forged disk: opening answers, whatever the bytes are, and what it has opened can be
 * read, appended to and opened again.
 *
 * The script first makes a log, then writes over bytes of its files, removes and shortens them. */
#include "storage/log.h"
#include "tests/fuzz/fuzz.h"

#define SEGMENT_SIZE (16u * 1024)
#define FILES_MAX    8

static struct log_options options_of(struct file_system *fs) {
    return (struct log_options){
        .fs = fs, .segment_size = SEGMENT_SIZE, .cache_size = SEGMENT_SIZE, .salt = 1};
}

static void nothing(void *arg) {
    (void)arg;
}

static void sync_log(struct log *log) {
    struct job *job = log_sync_begin(log, nothing, NULL);
    if (job == NULL)
        return;
    job->run(job);
    job->done(job);
    MUST(log_sync_end(log) == LOG_OK);
}

/* True where it was appended. */
static bool append(struct log *log, uint64_t term, uint8_t kind, size_t size) {
    static const uint8_t value[4096];
    struct entry entry = {.key = bytes_of("key"), .value = {value, size}};
    enum log_result result = kind % 4 == 0 ? log_append(log, term, ENTRY_NOOP, (struct bytes){NULL, 0})
                                           : log_append_entry(log, term, ENTRY_PUT, &entry);
    MUST(result == LOG_OK);
    return true;
}

static void make(struct script *s, struct file_system *fs) {
    struct log_options options = options_of(fs);
    struct log_report report;
    struct log *log;
    uint64_t term = 1;
    MUST(log_open(&options, (struct version){0, 0}, &log, &report) == LOG_OK);
    for (unsigned steps = take_u8(s) % 32; steps > 0; steps--) {
        uint8_t step = take_u8(s);
        if (step < 160)
            append(log, term, step, step < 150 ? step : (step - 150u) * 400u);
        else if (step < 176)
            term++;
        else if (step < 192 && log_last(log) > 0)
            MUST(log_truncate(log, log_last(log) - step % 16 % log_last(log)) == LOG_OK);
        else if (step < 240)
            MUST(log_write(log, log_last(log) / 2, false) == LOG_OK);
        else
            sync_log(log);
    }
    MUST(log_write(log, log_last(log) / 2, false) == LOG_OK);
    log_close(log);
}

struct names {
    char name[FILES_MAX][FILE_NAME_MAX];
    size_t count;
};

static void collect(void *arg, const char *name) {
    struct names *names = arg;
    if (strncmp(name, "log-", 4) == 0 && names->count < FILES_MAX)
        strcpy(names->name[names->count++], name);
}

static void damage_file(struct script *s, struct file_system *fs, const char *name, uint8_t how) {
    struct file *file;
    uint64_t offset = take_u16(s) % SEGMENT_SIZE;
    MUST(file_open(fs, name, false, &file) == FILE_OK);
    if (how == 1)
        file_truncate(file, offset);
    else
        file_write(file, offset, take_sized(s));
    file_close(file);
}

static void damage(struct script *s, struct file_system *fs) {
    struct names names = {0};
    file_system_list(fs, collect, &names);
    for (unsigned i = 0; i < 16 && script_left(s) > 0 && names.count > 0; i++) {
        uint8_t choice = take_u8(s), how = choice >> 4;
        const char *name = names.name[choice % names.count];
        if (how == 0)
            file_system_rename(fs, name, "log-0000000000000003");
        else if (how == 2)
            file_system_remove(fs, name);
        else
            damage_file(s, fs, name, how);
        names.count = 0;
        file_system_list(fs, collect, &names);
    }
}

static void use(struct log *log) {
    struct log_record record;
    uint64_t term, from = log_first(log), last = log_last(log);
    MUST(from <= last + 1);
    for (uint64_t i = from; i <= last && i < from + 100; i++) {
        MUST(log_read(log, i, &record) == LOG_OK && record.index == i);
        MUST(log_term_at(log, i, &term) && term == record.term);
        MUST(log_term_start(log, i) <= i);
        touch(record.payload);
    }
    struct bytes slice;
    uint64_t end, i = from;
    if (last >= from) {
        MUST(log_slice(log, from, 8192, &slice, &end) == LOG_OK && end >= from && end <= last);
        for (; log_slice_next(&slice, &record); i++)
            MUST(record.index == i);
        MUST(i == end + 1 && slice.size == 0);
    }
}

/* The next record to be told of. */
static void told(void *arg, const struct log_record *records, size_t count) {
    uint64_t *next = arg;
    MUST(count > 0 && count <= LOG_TOLD_MAX);
    for (size_t i = 0; i < count; i++) {
        MUST(records[i].index == (*next)++);
        touch(records[i].payload);
    }
}

static void open_forged(struct script *s, struct file_system *fs) {
    struct log_options options = options_of(fs);
    struct log_report report = {0};
    uint64_t next;
    options.committed = told;
    options.committed_arg = &next;
    struct version base = {take_u8(s) % 4, take_u8(s)};
    if (base.index == 0)
        base.term = 0;
    struct log *log;
    next = base.index + 1;
    enum log_result result = log_open(&options, base, &log, &report);
    if (result != LOG_OK) {
        MUST(result != LOG_CORRUPT || strlen(report.detail) > 0);
        return;
    }
    use(log);
    uint64_t last = log_last(log), term = log_last_term(log);
    MUST(report.took_back || next <= last + 1);
    if (last < UINT64_MAX - 2 && term < UINT64_MAX) {
        append(log, term + 1, 1, 10);
        MUST(log_write(log, report.commit < last ? report.commit : last, false) == LOG_OK);
        sync_log(log);
        MUST(log_durable(log) == last + 1);
        last++;
    }
    log_close(log);
    next = base.index + 1;
    MUST(log_open(&options, base, &log, &report) == LOG_OK);
    MUST(log_last(log) == last && report.cut_bytes == 0);
    use(log);
    log_close(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = script_of(data, size);
    struct file_system *fs = file_system_memory_new();
    uint8_t split = take_u8(&s);
    struct script making = script_of(s.at, split < script_left(&s) ? split : script_left(&s));
    take_bytes(&s, split);
    make(&making, fs);
    struct script opening = s;
    take_bytes(&s, 2);
    damage(&s, fs);
    open_forged(&opening, fs);
    file_system_free(fs);
    return 0;
}
