/* TAP for tests in C: `prove` reads it.
 *
 *     TEST(a_torn_tail_is_cut) { OK(log_last(log) == 3); }
 *     TESTS(a_torn_tail_is_cut, ...)
 *
 * A test's name is a sentence about behaviour. A failed OK prints file, line and expression and fails its
 * test; the rest of the test still runs. REQUIRE leaves the test at once. */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tap {
    const char *name;
    void (*run)(struct tap *tap);
    int failed;
};

#define TEST(test_name) static void test_name(struct tap *tap __attribute__((unused)))

static inline bool tap_ok(struct tap *tap, bool ok, const char *file, int line, const char *expression) {
    if (!ok) {
        tap->failed++;
        printf("# %s:%d: failed: %s\n", file, line, expression);
    }
    return ok;
}

static inline bool tap_equal(struct tap *tap, uint64_t got, uint64_t want, const char *file, int line,
                             const char *expression) {
    if (got != want) {
        tap->failed++;
        printf("# %s:%d: %s: got %" PRIu64 ", want %" PRIu64 "\n", file, line, expression, got, want);
    }
    return got == want;
}

static inline bool tap_text(struct tap *tap, const char *got, const char *want, const char *file, int line,
                            const char *expression) {
    bool ok = got != NULL && strcmp(got, want) == 0;
    if (!ok) {
        tap->failed++;
        printf("# %s:%d: %s: got \"%s\", want \"%s\"\n", file, line, expression, got ? got : "(null)", want);
    }
    return ok;
}

#define OK(expression)        tap_ok(tap, (expression), __FILE__, __LINE__, #expression)
#define EQUAL(got, want)      tap_equal(tap, (uint64_t)(got), (uint64_t)(want), __FILE__, __LINE__, #got)
#define TEXT_EQUAL(got, want) tap_text(tap, (got), (want), __FILE__, __LINE__, #got)
#define REQUIRE(expression)                                                                                  \
    do {                                                                                                     \
        if (!OK(expression))                                                                                 \
            return;                                                                                          \
    } while (0)

static inline int tap_run(struct tap *tests, size_t count) {
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("1..%zu\n", count);
    for (size_t i = 0; i < count; i++) {
        tests[i].run(&tests[i]);
        char sentence[256];
        snprintf(sentence, sizeof sentence, "%s", tests[i].name);
        for (char *c = sentence; *c != '\0'; c++)
            if (*c == '_')
                *c = ' ';
        printf("%s %zu - %s\n", tests[i].failed ? "not ok" : "ok", i + 1, sentence);
        failed += tests[i].failed != 0;
    }
    return failed != 0;
}

#define TAP(test_name)                                                                                       \
    { .name = #test_name, .run = test_name }
/* int main with the tests of the file: TESTS(TAP(one), TAP(two)) */
#define TESTS(...)                                                                                           \
    int main(void) {                                                                                         \
        struct tap tests[] = {__VA_ARGS__};                                                                  \
        return tap_run(tests, sizeof tests / sizeof tests[0]);                                               \
    }

#endif
