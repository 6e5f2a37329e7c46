#ifndef TESTS_UNIT_REPLICATION_BEGIN_LOG_H
#define TESTS_UNIT_REPLICATION_BEGIN_LOG_H

#include "storage/log.h"

/* What a new node's first start leaves of the log, for tests that put files beside it. */
static inline bool begin_log(struct file_system *fs) {
    struct log_options options = {.fs = fs, .segment_size = 64 * 1024};
    struct log_report report;
    struct log *log;
    bool ok = log_open(&options, (struct version){0}, &log, &report) == LOG_OK;
    if (ok)
        log_close(log);
    return ok;
}

#endif
