#include "tests/sim/corpus.h"

#include <bsd/stdlib.h>
#include <bsd/string.h>

static bool number(const char *text, uint64_t max, uint64_t *out) {
    const char *error = "";
    if (text != NULL)
        *out = (uint64_t)strtonum(text, 0, (long long)max, &error);
    return text != NULL && error == NULL;
}

const char *corpus_ack_text(enum ack_mode mode) {
    static const char *const texts[] = {[ACK_ASYNC] = "async", [ACK_QUORUM] = "quorum", [ACK_ALL] = "all"};
    return texts[mode];
}

bool corpus_ack(const char *text, enum ack_mode *out) {
    for (unsigned i = 0; i < 3 && text != NULL; i++)
        if (strcmp(text, corpus_ack_text((enum ack_mode)i)) == 0) {
            *out = (enum ack_mode)i;
            return true;
        }
    return false;
}

const char *corpus_with_text(unsigned bit) {
    static const char *const texts[] = {"leave", "stuck-disk", "lie", "flip",
                                        "hostile"}; /* as enum sim_with */
    return bit < sizeof texts / sizeof texts[0] ? texts[bit] : NULL;
}

static bool take_with(const char *value, struct chaos_options *out) {
    for (unsigned i = 0; value != NULL && corpus_with_text(i) != NULL; i++)
        if (strcmp(value, corpus_with_text(i)) == 0) {
            out->with |= 1u << i;
            return true;
        }
    return false;
}

static bool take(const char *flag, const char *value, struct chaos_options *out) {
    uint64_t got;
    if (strcmp(flag, "--ack") == 0)
        return corpus_ack(value, &out->ack);
    if (strcmp(flag, "--with") == 0)
        return take_with(value, out);
    if (strcmp(flag, "--nodes") == 0 && number(value, MACHINES_MAX, &got))
        out->machines = (unsigned)got;
    else if (strcmp(flag, "--ms") == 0 && number(value, 1000000, &got))
        out->duration_ms = got;
    else if (strcmp(flag, "--fsync") == 0 && number(value, 60000, &got))
        out->sync_interval_ms = (uint32_t)got;
    else
        return false;
    return true;
}

static char *word(char **rest) {
    char *found;
    do
        found = strsep(rest, " \t\n");
    while (found != NULL && *found == '\0');
    return found;
}

enum corpus_line corpus_parse(char *line, struct chaos_options *out) {
    char *rest = line;
    line[strcspn(line, "#")] = '\0';
    char *seed = word(&rest);
    *out = (struct chaos_options){.ack = ACK_ASYNC};
    if (seed == NULL)
        return CORPUS_BLANK;
    if (!number(seed, INT64_MAX, &out->seed))
        return CORPUS_BAD;
    for (char *flag; (flag = word(&rest)) != NULL;)
        if (!take(flag, word(&rest), out))
            return CORPUS_BAD;
    return CORPUS_SEED;
}
