/* The program's log: one line an event, to standard error, as text or JSON. */
#ifndef CMD_LOG_IO_H
#define CMD_LOG_IO_H

#include "cmd/options.h"

struct log_io {
    enum node_level level; /* lower ones are left out */
    enum log_format format;
};

void log_io_line(const struct log_io *log, enum node_level level, const char *event, const char *text);

#endif
