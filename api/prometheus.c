#include "api/prometheus.h"

#include <inttypes.h>
#include <stdio.h>

void prometheus_family(struct buffer *out, const char *name, const char *type, const char *help) {
    const char *const parts[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        buffer_append_text(out, parts[i]);
}

static void begin(struct buffer *out, const char *name, const char *suffix, const char *labels) {
    buffer_append_text(out, name);
    buffer_append_text(out, suffix);
    if (labels == NULL || labels[0] == '\0')
        return;
    buffer_append_text(out, "{");
    buffer_append_text(out, labels);
    buffer_append_text(out, "}");
}

static void end(struct buffer *out, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, " %" PRIu64 "\n", value);
    buffer_append_text(out, text);
}

static void end_fraction(struct buffer *out, double value) {
    char text[40];
    snprintf(text, sizeof text, " %.9g\n", value);
    buffer_append_text(out, text);
}

void prometheus_sample(struct buffer *out, const char *name, const char *labels, uint64_t value) {
    begin(out, name, "", labels);
    end(out, value);
}

void prometheus_fraction(struct buffer *out, const char *name, const char *labels, double value) {
    begin(out, name, "", labels);
    end_fraction(out, value);
}

void prometheus_counter(struct buffer *out, const char *name, const char *help, uint64_t value) {
    prometheus_family(out, name, "counter", help);
    prometheus_sample(out, name, NULL, value);
}

void prometheus_gauge(struct buffer *out, const char *name, const char *help, uint64_t value) {
    prometheus_family(out, name, "gauge", help);
    prometheus_sample(out, name, NULL, value);
}

static void histogram(struct buffer *out, const char *name, const char *labels, const struct histogram *h,
                      unsigned first_log2, double unit) {
    uint64_t count = 0;
    char all[320], bound[32];
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += h->counts[i];
        snprintf(bound, sizeof bound, "%.9g", (double)(1ull << (first_log2 + i)) * unit);
        snprintf(all, sizeof all, "%s", labels != NULL ? labels : "");
        prometheus_label(all, sizeof all, "le", i + 1 < HISTOGRAM_BUCKETS ? bound : "+Inf");
        begin(out, name, "_bucket", all);
        end(out, count);
    }
    begin(out, name, "_sum", labels);
    end_fraction(out, (double)h->sum * unit);
    begin(out, name, "_count", labels);
    end(out, count);
}

void prometheus_times(struct buffer *out, const char *name, const char *labels, const struct histogram *h) {
    histogram(out, name, labels, h, HISTOGRAM_TIME_LOG2, 1e-6);
}

void prometheus_sizes(struct buffer *out, const char *name, const char *labels, const struct histogram *h) {
    histogram(out, name, labels, h, HISTOGRAM_SIZE_LOG2, 1);
}

void prometheus_label(char *labels, size_t size, const char *name, const char *value) {
    size_t used = strlen(labels);
    char clean[200];
    size_t length = 0;
    for (; value[length] != '\0' && length + 1 < sizeof clean; length++) {
        char c = value[length];
        clean[length] = c >= ' ' && c <= '~' && c != '"' && c != '\\' ? c : '?';
    }
    clean[length] = '\0';
    snprintf(labels + used, size - used, "%s%s=\"%s\"", used > 0 ? "," : "", name, clean);
}
