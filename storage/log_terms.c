#include "storage/log_internal.h"

#include <assert.h>
#include <stdlib.h>

void log_terms_reset(struct log_terms *terms, struct version base) {
    terms->base = base;
    terms->count = terms->configuration_count = 0;
}

void log_terms_release(struct log_terms *terms) {
    free(terms->runs);
    free(terms->configurations);
    *terms = (struct log_terms){0};
}

static void append_configuration(struct log_terms *terms, uint64_t index) {
    terms->configurations = log_grow(terms->configurations, &terms->configuration_capacity,
                                     terms->configuration_count + 1, sizeof *terms->configurations);
    terms->configurations[terms->configuration_count++] = index;
}

void log_terms_append(struct log_terms *terms, uint64_t index, uint64_t term, enum entry_type type) {
    if (type == ENTRY_CONFIGURATION)
        append_configuration(terms, index);
    if (terms->count > 0 && terms->runs[terms->count - 1].term == term)
        return;
    terms->runs = log_grow(terms->runs, &terms->capacity, terms->count + 1, sizeof *terms->runs);
    terms->runs[terms->count++] = (struct term_run){index, term};
}

void log_terms_truncate(struct log_terms *terms, uint64_t index, uint64_t term_before) {
    while (terms->count > 0 && terms->runs[terms->count - 1].first >= index)
        terms->count--;
    while (terms->configuration_count > 0 && terms->configurations[terms->configuration_count - 1] >= index)
        terms->configuration_count--;
    if (index <= terms->base.index)
        terms->base = (struct version){term_before, index - 1};
}

void log_terms_forget(struct log_terms *terms, uint64_t index) {
    if (index <= terms->base.index)
        return;
    size_t gone = 0;
    while (gone < terms->configuration_count && terms->configurations[gone] <= index)
        gone++;
    terms->configuration_count -= gone;
    if (gone > 0)
        memmove(terms->configurations, terms->configurations + gone,
                terms->configuration_count * sizeof *terms->configurations);
    size_t keep = (size_t)(log_terms_find(terms, index) - terms->runs);
    terms->base = (struct version){terms->runs[keep].term, index};
    terms->count -= keep;
    memmove(terms->runs, terms->runs + keep, terms->count * sizeof *terms->runs);
}

const struct term_run *log_terms_find(const struct log_terms *terms, uint64_t index) {
    assert(terms->count > 0);
    assert(terms->runs[0].first <= index);
    size_t low = 0, high = terms->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (terms->runs[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return &terms->runs[low];
}
