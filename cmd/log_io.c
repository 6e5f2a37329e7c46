#include "cmd/log_io.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "api/json_out.h"

static const char *const level_names[] = {
    [NODE_DEBUG] = "debug",     [NODE_INFO] = "info",   [NODE_NOTICE] = "notice",
    [NODE_WARNING] = "warning", [NODE_ERROR] = "error",
};

/* "2026-11-21T10:15:30.123Z" */
static void print_time(char *out, size_t size) {
    struct timespec now;
    struct tm parts;
    char seconds[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out, size, "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));
}

static void print_json(struct buffer *line, const char *time, const char *level, const char *event,
                       const char *text) {
    buffer_append_text(line, "{\"time\":\"");
    buffer_append_text(line, time);
    buffer_append_text(line, "\",\"level\":\"");
    buffer_append_text(line, level);
    buffer_append_text(line, "\",\"event\":\"");
    buffer_append_text(line, event);
    buffer_append_text(line, "\",\"message\":");
    json_append(line, bytes_of(text));
    buffer_append_text(line, "}\n");
}

static void print_text(struct buffer *line, const char *time, const char *level, const char *text) {
    char head[96];
    snprintf(head, sizeof head, "%s %-7s ", time, level);
    buffer_append_text(line, head);
    buffer_append_text(line, text);
    buffer_append_text(line, "\n");
}

void log_io_line(const struct log_io *log, enum node_level level, const char *event, const char *text) {
    if (level < log->level)
        return;
    struct buffer line = {0};
    char time[64];
    print_time(time, sizeof time);
    if (log->format == LOG_JSON)
        print_json(&line, time, level_names[level], event, text);
    else
        print_text(&line, time, level_names[level], text);
    struct bytes bytes = buffer_bytes(&line);
    /* One write a line: several nodes share a terminal. A log that cannot be written stops nothing. */
    if (write(STDERR_FILENO, bytes.data, bytes.size) < 0)
        (void)0;
    buffer_release(&line);
}
