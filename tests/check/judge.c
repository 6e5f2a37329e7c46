/* judge: whether recorded histories (history.h) keep what kvnode promises. `judge FILE...`, or standard
 * input; exits with 0 where they do, 1 where something is violated, 2 where a file is no history, 3 where a
 * search had to give up. */
#include <err.h>
#include <string.h>

#include "tests/check/verdict.h"

static int judge(const char *name, FILE *in) {
    static const int statuses[] = {[LINEAR_OK] = 0, [LINEAR_VIOLATED] = 1, [LINEAR_UNDECIDED] = 3};
    struct history h;
    struct verdict_options options = {0};
    struct verdict verdict;
    char why[256];
    history_init(&h);
    if (!history_read(&h, in, why, sizeof why))
        errx(2, "%s: %s", name, why);
    history_judge(&h, &options, &verdict);
    printf("%s: %zu operations, %zu keys, %zu placed in %llu steps: %s\n", name, h.count, verdict.keys,
           verdict.judged, (unsigned long long)verdict.steps,
           verdict.result == LINEAR_OK ? "linearizable" : verdict.text);
    verdict_explain(&h, &verdict, stdout);
    history_release(&h);
    return statuses[verdict.result];
}

int main(int argc, char *argv[]) {
    int status = 0;
    if (argc < 2)
        return judge("standard input", stdin);
    for (int i = 1; i < argc; i++) {
        FILE *in = fopen(argv[i], "r");
        if (in == NULL)
            err(2, "%s", argv[i]);
        int got = judge(argv[i], in);
        fclose(in);
        if (got == 1 || status == 0)
            status = got;
    }
    return status;
}
