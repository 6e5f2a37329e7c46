#include "tests/sim/corpus.h"

#include <bsd/stdlib.h>
#include <bsd/string.h>

static bool number(const char *text, uint64_t max, uint64_t *out) {
    const char *error = "";
    if (text != NULL)
        *out = (uint64_t)strtonum(text, 0, (long long)max, &error);
    return text != NULL && error == NULL;
}

static bool take(const char *flag, const char *value, struct chaos_options *out) {
    static const char *const modes[] = {[ACK_ASYNC] = "async", [ACK_QUORUM] = "quorum", [ACK_ALL] = "all"};
    uint64_t got;
    if (strcmp(flag, "--ack") == 0) {
        for (unsigned i = 0; i < 3 && value != NULL; i++)
            if (strcmp(value, modes[i]) == 0) {
                out->ack = (enum ack_mode)i;
                return true;
            }
        return false;
    }
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
