/* Metrics in Prometheus' text form, version 0.0.4: families, each a head and its samples. */
#ifndef API_PROMETHEUS_H
#define API_PROMETHEUS_H

#include "storage/buffer.h"
#include "storage/histogram.h"

/* # HELP and # TYPE. type: "counter" (the name ends in _total), "gauge" or "histogram". help: one line,
 * without a backslash. */
void prometheus_family(struct buffer *out, const char *name, const char *type, const char *help);
/* One sample. labels: what stands between the braces, as prometheus_label made it, or NULL for none. */
void prometheus_sample(struct buffer *out, const char *name, const char *labels, uint64_t value);
void prometheus_fraction(struct buffer *out, const char *name, const char *labels, double value);
/* A family of one sample. */
void prometheus_counter(struct buffer *out, const char *name, const char *help, uint64_t value);
void prometheus_gauge(struct buffer *out, const char *name, const char *help, uint64_t value);
/* The samples of a histogram of microseconds (named _seconds), or of counts. */
void prometheus_times(struct buffer *out, const char *name, const char *labels, const struct histogram *h);
void prometheus_sizes(struct buffer *out, const char *name, const char *labels, const struct histogram *h);
/* Appends name="value" to labels, cut where it does not fit; what is not printable ASCII, and quotes and
 * backslashes, become '?'. */
void prometheus_label(char *labels, size_t size, const char *name, const char *value);

#endif
