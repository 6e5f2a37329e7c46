/* `kvctl directory`: looks into a stopped node's data directory, and mends it (replication/examine.h). */
#include "cmd/kvctl.h"

#include <bsd/stdlib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "replication/examine.h"

/* 0, or an exit code after a line. */
static int look(const char *path, bool writing, struct file_system **fs, struct examination *x) {
    char why[320];
    enum file_result result = file_system_posix_look(path, fs, why, sizeof why);
    if (result == FILE_OK && writing) {
        file_system_free(*fs); /* it is there: nothing is made */
        result = file_system_posix_open(path, fs, why, sizeof why);
    }
    if (result != FILE_OK) {
        fprintf(stderr, "kvctl: %s%s\n", why,
                result == FILE_LOCKED ? ": stop the node that runs on it first" : "");
        return EXIT_USAGE;
    }
    if (examine(*fs, x, why, sizeof why))
        return EXIT_DONE;
    fprintf(stderr, "kvctl: %s: %s\n", path, why);
    file_system_free(*fs);
    return EXIT_USAGE;
}

static size_t damaged_files(const struct examination *x) {
    size_t count = 0;
    for (size_t i = 0; i < x->count; i++)
        count += x->rows[i].state != EXAMINE_WHOLE && x->rows[i].state != EXAMINE_BESIDE;
    return count;
}

static void print_examination(const struct examination *x) {
    printf("%-20s %-13s %s\n", "FILE", "STATE", "HOLDS");
    for (size_t i = 0; i < x->count; i++)
        printf("%-20s %-13s %s\n", x->rows[i].name, examine_state_text(x->rows[i].state), x->rows[i].text);
    if (x->strangers > 0)
        printf("%zu other files are not kvnode's, and are left alone\n", x->strangers);
    if (x->summary[0] != '\0')
        printf("%s\n", x->summary);
}

static void print_mend(const struct examination *x, const struct mend *m, const char *path) {
    if (m->refused[0] != '\0')
        printf("cannot be mended here: %s\n", m->refused);
    if (m->aside)
        printf("mend: all files but 'identity' and 'rejected' are renamed aside-..., none is removed; "
               "the node gets a new incarnation and, when it is started, joins its group again and gets "
               "its data from the %u other voters.\n"
               "Do so only while the intact voters other than this node are a majority of the group\n",
               x->identity.other_voters);
    if (m->finish)
        puts("mend: the files that are still to be set aside are renamed");
    if (m->cut) {
        printf("mend: this node is its group's only voter, as far as it knows. The log is cut behind index "
               "%" PRIu64 "; what stands there is kept in files aside-... and is lost to the group",
               x->last);
        if (x->lost > 0)
            printf(": at least the writes up to index %" PRIu64, x->lost);
        printf(".\nA learner of the group has to be emptied before it starts again. Restore a backup instead "
               "if there is one. To do it: kvctl directory mend %s --yes "
               "--lose-writes-after %" PRIu64 "\n",
               path, x->last);
    }
    if (m->term)
        printf("mend: the term becomes %" PRIu64 ", in which this node has not voted; no write is lost\n",
               m->new_term);
    if (m->copies)
        puts("mend: damaged second copies are written again from the whole ones");
}

static bool has_work(const struct mend *m) {
    return m->refused[0] == '\0' && (m->aside || m->finish || m->cut || m->term || m->copies);
}

int directory_check(const struct options *o) {
    struct file_system *fs;
    struct examination x;
    int code = look(o->arguments[2], false, &fs, &x);
    if (code != EXIT_DONE)
        return code;
    struct mend m = mend_of(&x);
    print_examination(&x);
    if (x.whole)
        puts(has_work(&m) ? "unfinished" : "whole");
    else
        printf("damaged: %zu files\n", damaged_files(&x));
    print_mend(&x, &m, o->arguments[2]);
    if (has_work(&m) && !m.cut)
        printf("To do it: kvctl directory mend %s --yes\n", o->arguments[2]);
    code = x.whole && !has_work(&m) ? EXIT_DONE : EXIT_REFUSED;
    examine_release(&x);
    file_system_free(fs);
    return code;
}

static bool on_terminal(void) {
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static bool agreed(const struct options *o) {
    char answer[8];
    if (o->yes)
        return true;
    if (!on_terminal()) {
        puts("nothing was done: --yes does it");
        return false;
    }
    fputs("do it? (yes or no) ", stdout);
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0)
        return true;
    puts("nothing was done");
    return false;
}

/* Writes may be lost only up to where the check said. */
static bool may_lose(const struct options *o, const struct examination *x) {
    char *end = NULL;
    uint64_t after = o->lose_after == NULL ? 0 : strtoull(o->lose_after, &end, 10);
    if (end != NULL && end != o->lose_after && *end == '\0' && after == x->last)
        return true;
    printf("nothing was done: it takes --lose-writes-after %" PRIu64 "\n", x->last);
    return false;
}

static int do_mend(struct file_system *fs, struct examination *x, const struct mend *m) {
    char why[320];
    uint64_t random;
    arc4random_buf(&random, sizeof random);
    if (!mend_do(fs, x, m, random, why, sizeof why)) {
        fprintf(stderr, "kvctl: %s; what was not done yet is done by the next kvctl directory mend\n", why);
        return EXIT_REFUSED;
    }
    examine_release(x);
    if (!examine(fs, x, why, sizeof why)) {
        fprintf(stderr, "kvctl: %s\n", why);
        return EXIT_REFUSED;
    }
    print_examination(x);
    puts(x->whole ? "mended: start the node" : "not all of it could be mended");
    return x->whole ? EXIT_DONE : EXIT_REFUSED;
}

int directory_mend(const struct options *o) {
    struct file_system *fs;
    struct examination x;
    int code = look(o->arguments[2], o->yes || on_terminal(), &fs, &x);
    if (code != EXIT_DONE)
        return code;
    struct mend m = mend_of(&x);
    print_mend(&x, &m, o->arguments[2]);
    if (m.refused[0] != '\0')
        code = EXIT_REFUSED;
    else if (!has_work(&m))
        puts("nothing to mend");
    else if ((m.cut && !may_lose(o, &x)) || !agreed(o))
        code = EXIT_REFUSED;
    else
        code = do_mend(fs, &x, &m);
    examine_release(&x);
    file_system_free(fs);
    return code;
}
