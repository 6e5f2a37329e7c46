/* The judge of histories, judged: by planted violations, and by an oracle that tries every order of small
 * random histories. CHECK_ROUNDS is the number of those. */
#include "tests/check/verdict.h"
#include "storage/random.h"
#include "tests/tap.h"

#define OPS_MAX        7
#define ROUNDS_DEFAULT 60000

static struct verdict judge_text(const char *lines, char *why, size_t size) {
    struct history h;
    struct verdict verdict = {.result = LINEAR_UNDECIDED};
    struct verdict_options options = {0};
    char text[4096];
    snprintf(text, sizeof text, "kvnode-history 1\n%s", lines);
    FILE *in = fmemopen(text, strlen(text), "r");
    history_init(&h);
    if (in != NULL && history_read(&h, in, why, size))
        history_judge(&h, &options, &verdict);
    fclose(in);
    history_release(&h);
    return verdict;
}

static void expect(struct tap *tap, const char *lines, const char *want) {
    char why[256] = "";
    struct verdict verdict = judge_text(lines, why, sizeof why);
    TEXT_EQUAL(why, "");
    TEXT_EQUAL(verdict.text, want);
    EQUAL(verdict.result, want[0] == '\0' ? LINEAR_OK : LINEAR_VIOLATED);
}

#define OLD "set begin=1 end=2 ok key=k value=a etag=1.1\n"
#define NEW "set begin=3 end=4 ok key=k value=b etag=1.2\n"

TEST(a_read_that_began_after_a_write_ended_sees_it) {
    expect(tap, OLD NEW "get begin=5 end=6 ok key=k value=b etag=1.2 linearizable\n", "");
    expect(tap, OLD NEW "get begin=5 end=6 ok key=k value=a etag=1.1 linearizable\n",
           "key k is not linearizable");
    expect(tap, OLD NEW "get begin=5 end=6 ok key=k absent linearizable\n", "key k is not linearizable");
    expect(tap, OLD NEW "get begin=4 end=6 ok key=k value=a etag=1.1 linearizable\n", "");
    expect(tap, OLD NEW "get begin=5 end=6 ok key=k value=a etag=1.1\n", "");
}

TEST(a_read_is_no_staler_than_it_says) {
    expect(tap,
           "set begin=1 end=2 ok key=k value=a\nset begin=3000 end=4000 ok key=k value=b\n"
           "get begin=7000 end=7500 ok key=k value=a staleness-ms=3\n",
           "");
    expect(tap,
           "set begin=1 end=2 ok key=k value=a\nset begin=3000 end=4000 ok key=k value=b\n"
           "get begin=7001 end=7500 ok key=k value=a staleness-ms=3\n",
           "key k is not linearizable");
}

TEST(once_a_write_without_an_answer_was_seen_it_stays) {
    const char *writes = OLD "set begin=3 unknown key=k value=b\n";
    static const char *const reads[][2] = {
        {"b", "a"},
        {"a", "b"},
        {"a", "a"},
        {"b", "b"},
    };
    for (size_t i = 0; i < 4; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 "%sget begin=5 end=6 ok key=k value=%s linearizable\nget begin=7 end=8 ok key=k value=%s "
                 "linearizable\n",
                 writes, reads[i][0], reads[i][1]);
        expect(tap, text, i == 0 ? "key k is not linearizable" : "");
    }
    expect(tap, "set begin=9 unknown key=k value=b\nget begin=5 end=6 ok key=k value=b linearizable\n",
           "a read of k returned b before it was written");
}

TEST(a_write_without_an_answer_may_explain_what_stands_against_a_condition) {
    expect(tap,
           OLD "set begin=3 unknown key=k value=b\n"
               "set begin=5 end=6 failed key=k value=c if-match=1.1 etag=1.2\n",
           "");
    expect(tap, OLD "set begin=5 end=6 failed key=k value=c if-match=1.1 etag=1.2\n",
           "key k is not linearizable");
    expect(tap, OLD "set begin=5 end=6 failed key=k value=c if-match=1.1 etag=1.1\n",
           "a write of k failed although its condition held");
    expect(tap, OLD "set begin=5 end=6 failed key=k value=c if-match=1.1\n", "key k is not linearizable");
    expect(tap, OLD "delete begin=3 unknown key=k\nset begin=5 end=6 failed key=k value=c if-match=1.1\n",
           "");
}

TEST(of_two_writes_on_one_condition_one_is_done) {
    expect(tap,
           OLD "set begin=3 end=9 ok key=k value=b if-match=1.1 etag=1.2\n"
               "set begin=3 end=9 ok key=k value=c if-match=1.1 etag=1.3\n",
           "key k is not linearizable");
    expect(tap,
           OLD "set begin=3 end=9 ok key=k value=b if-match=1.1 etag=1.2\n"
               "set begin=3 end=9 failed key=k value=c if-match=1.1 etag=1.2\n",
           "");
    expect(tap,
           "set begin=3 end=9 ok key=k value=b if-none-match=* etag=1.2\n"
           "set begin=3 end=9 ok key=k value=c if-none-match=* etag=1.3\n",
           "key k is not linearizable");
    expect(tap,
           "set begin=3 end=9 ok key=k value=b if-none-match=* etag=1.2\n"
           "delete begin=3 end=9 ok key=k if-match=*\n"
           "set begin=3 end=9 ok key=k value=c if-none-match=* etag=1.3\n",
           "");
}

TEST(a_weak_write_may_be_lost_and_one_that_a_majority_has_may_not) {
    expect(tap,
           OLD "set begin=3 end=4 ok key=k value=b etag=1.2 weak\n"
               "get begin=5 end=6 ok key=k value=a linearizable\n",
           "");
    expect(tap,
           OLD "set begin=3 end=4 ok key=k value=b etag=1.2 weak\n"
               "get begin=5 end=6 ok key=k value=a linearizable\n"
               "get begin=7 end=8 ok key=k value=b linearizable\n"
               "get begin=9 end=10 ok key=k value=a linearizable\n",
           "key k is not linearizable");
}

TEST(a_weak_write_that_nobody_saw_may_stand_behind_a_condition_that_somebody_used) {
    expect(tap,
           OLD "set begin=3 end=4 ok key=k value=b etag=1.2 weak\n"
               "delete begin=5 unknown key=k if-match=1.2\n"
               "get begin=7 end=8 ok key=k absent linearizable\n",
           "");
    expect(tap,
           OLD "set begin=3 end=4 ok key=k value=b etag=1.2 weak\n"
               "set begin=5 unknown key=k value=c if-match=1.2\n"
               "get begin=7 end=8 ok key=k value=c linearizable\n"
               "get begin=7 end=8 ok key=k value=a linearizable\n",
           "");
}

TEST(what_nobody_wrote_is_never_read) {
    expect(tap, "get begin=5 end=6 ok key=k value=x\n", "a read of k returned x, which nobody wrote there");
    expect(tap, "set begin=1 end=2 ok key=j value=x\nget begin=5 end=6 ok key=k value=x\n",
           "a read of k returned x, which nobody wrote there");
    expect(tap, "set begin=1 end=2 refused key=k value=x\nget begin=5 end=6 ok key=k value=x\n",
           "a read of k returned x, which was refused");
    expect(tap,
           OLD "set begin=3 end=4 failed key=k value=x if-match=9.9 etag=1.1\n"
               "get begin=5 end=6 ok key=k value=x\n",
           "a read of k returned x, whose condition had failed");
}

#define RETRIED                                                                                              \
    OLD "set begin=3 unknown key=k value=x if-match=1.1 client=c request=r\n"                                \
        "set begin=5 end=6 ok key=k value=b etag=2.7\n"                                                      \
        "set begin=7 end=8 failed key=k value=x if-match=1.1 etag=2.7 client=c request=r\n"

TEST(an_attempt_taken_back_may_have_been_read_though_the_pair_then_failed) {
    expect(tap, RETRIED "get begin=3 end=4 ok key=k value=x etag=1.2\n", "");
    expect(tap, RETRIED "get begin=3 end=4 ok key=k value=x etag=1.2 linearizable\n",
           "a read of k returned x, whose condition had failed");
}

TEST(a_version_names_one_value) {
    expect(tap, OLD "get begin=5 end=6 ok key=k value=a etag=1.7\n", "value a has two versions: 1.1 and 1.7");
    expect(tap, OLD "set begin=5 end=6 ok key=k value=b etag=1.1\n", "version 1.1 has two values: b and a");
}

#define PAIR " client=c request=r"

TEST(a_pair_is_one_write) {
    expect(tap,
           "set begin=1 unknown key=k value=a" PAIR "\nset begin=5 end=6 ok key=k value=a etag=1.1" PAIR
           "\nset begin=7 end=8 ok key=k value=a etag=1.1" PAIR "\n",
           "");
    expect(tap,
           "set begin=5 end=6 ok key=k value=a etag=1.1" PAIR "\nset begin=7 end=8 ok key=k value=a "
           "etag=1.2" PAIR "\n",
           "request r is answered with version 1.1, and with 1.2");
    expect(tap,
           "set begin=5 end=6 ok key=k value=a etag=1.1" PAIR "\nset begin=7 end=8 ok key=k value=b "
           "etag=1.1" PAIR "\n",
           "request r is sent with another write");
    expect(tap,
           "set begin=1 end=2 refused key=k value=a" PAIR "\nset begin=3 end=4 refused key=k value=a" PAIR
           "\nget begin=5 end=6 ok key=k value=a\n",
           "a read of k returned a, which was refused");
    expect(tap,
           "set begin=1 unknown key=k value=a" PAIR "\nset begin=3 end=4 refused key=k value=a" PAIR
           "\nget begin=5 end=6 ok key=k value=a linearizable\n",
           "");
    /* Its second effect would show as a value that comes back. */
    expect(tap,
           "set begin=1 end=2 ok key=k value=a etag=1.1" PAIR
           "\nset begin=3 end=4 ok key=k value=b etag=1.2\n"
           "set begin=5 end=6 ok key=k value=a etag=1.1" PAIR
           "\nget begin=7 end=8 ok key=k value=a linearizable\n",
           "key k is not linearizable");
}

TEST(a_read_that_promises_nothing_may_see_an_attempt_that_was_taken_back) {
    const char *read =
        "set begin=1 unknown key=k value=a" PAIR "\nget begin=2 end=3 ok key=k value=a etag=1.1%s\n"
        "set begin=5 end=6 ok key=k value=a etag=2.1" PAIR "\n";
    char text[1024];
    snprintf(text, sizeof text, read, "");
    expect(tap, text, "");
    snprintf(text, sizeof text, read, " linearizable");
    expect(tap, text, "value a has two versions: 2.1 and 1.1");
}

TEST(a_listing_names_what_was_there_all_the_time_and_nothing_that_was_not) {
    const char *sets = "set begin=1 end=2 ok key=a value=1\nset begin=1 end=2 ok key=b value=2\n"
                       "set begin=1 end=2 ok key=c value=3\ndelete begin=3 end=4 ok key=b\n";
    static const char *const rows[][2] = {
        {"keys begin=5 end=6 ok linearizable listed=a,c\n", ""},
        {"keys begin=5 end=6 ok linearizable listed=a\n", "key c is not linearizable"},
        {"keys begin=5 end=6 ok linearizable limit=1 listed=a\n", ""},
        {"keys begin=5 end=6 ok linearizable after=a listed=c\n", ""},
        {"keys begin=5 end=6 ok linearizable prefix=c listed=c\n", ""},
        {"keys begin=5 end=6 ok linearizable listed=a,b,c\n", "key b is not linearizable"},
        {"keys begin=3 end=6 ok linearizable listed=a,b,c\n", ""},
        {"keys begin=5 end=6 ok listed=a,b,c\n", ""},
        {"keys begin=5 end=6 ok listed=c,a\n", "a listing has a behind c"},
        {"keys begin=5 end=6 ok after=b listed=a,c\n", "a listing has a, which it was not asked for"},
        {"keys begin=5 end=6 ok listed=a,c,d\n", "a listing has d, which nobody had set"},
        {"keys begin=5 end=6 ok limit=1 listed=a,c\n", "a listing has more keys than its limit"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024];
        snprintf(text, sizeof text, "%s%s", sets, rows[i][0]);
        expect(tap, text, rows[i][1]);
    }
}

TEST(what_is_no_history_to_judge_is_said) {
    expect(tap, OLD "set begin=5 end=6 ok key=k value=a etag=1.2\n",
           "this is no history to judge: two sets write a to k");
}

/* The oracle: every order of every choice of what happened. */

struct oracle {
    const struct history *h;
    uint64_t begin_us[OPS_MAX], end_us[OPS_MAX];
    bool required[OPS_MAX], never[OPS_MAX], done[OPS_MAX];
    uint32_t versions[OPS_MAX]; /* of the value that this op sets; HISTORY_NONE: not known */
    uint64_t tried;
    bool bound; /* a version was told only by what stood against a condition */
};

/* The op that set a value, or a version; OPS_MAX: nobody knows. */
static size_t setter(const struct oracle *o, uint32_t value) {
    for (size_t i = 0; i < o->h->count; i++)
        if (o->h->ops[i].kind == HISTORY_SET && o->h->ops[i].value == value)
            return i;
    return OPS_MAX;
}

static bool holds(const struct oracle *o, const struct history_op *op, size_t state) {
    switch (op->condition) {
    case HISTORY_ALWAYS:
        return true;
    case HISTORY_IF_EXISTS:
        return state != OPS_MAX;
    case HISTORY_IF_ABSENT:
        return state == OPS_MAX;
    case HISTORY_IF_MATCH:
        return state != OPS_MAX && o->versions[state] == op->match;
    }
    return false;
}

static bool search(struct oracle *o, size_t state);

static bool carry_on(struct oracle *o, size_t number, size_t state) {
    o->done[number] = true;
    bool found = search(o, state);
    o->done[number] = false;
    return found;
}

/* The version of the state is `etag`; where it is not known yet, from now on. */
static bool with_version(struct oracle *o, size_t number, size_t state, uint32_t etag,
                         bool (*then)(struct oracle *o, size_t number, size_t state)) {
    if (state == OPS_MAX)
        return false;
    if (o->versions[state] != HISTORY_NONE)
        return o->versions[state] == etag && then(o, number, state);
    for (size_t i = 0; i < o->h->count; i++)
        if (o->versions[i] == etag)
            return false;
    o->bound = true;
    o->versions[state] = etag;
    bool found = then(o, number, state);
    o->versions[state] = HISTORY_NONE;
    return found;
}

static bool write_done(struct oracle *o, size_t number, size_t state) {
    return carry_on(o, number, o->h->ops[number].kind == HISTORY_SET ? number : ((void)state, OPS_MAX));
}

static bool place(struct oracle *o, size_t number, size_t state) {
    const struct history_op *op = &o->h->ops[number];
    if (op->kind == HISTORY_KEYS)
        return (op->listed_count > 0) == (state != OPS_MAX) && carry_on(o, number, state);
    if (op->kind == HISTORY_GET)
        return state == (op->value == HISTORY_NONE ? OPS_MAX : setter(o, op->value)) &&
               carry_on(o, number, state);
    if (op->outcome == HISTORY_FAILED) {
        if (op->condition == HISTORY_ALWAYS || (op->condition == HISTORY_IF_MATCH && op->match == op->etag))
            return false;
        if (op->etag != HISTORY_NONE)
            return op->condition != HISTORY_IF_EXISTS && with_version(o, number, state, op->etag, carry_on);
        return (state != OPS_MAX) == (op->condition == HISTORY_IF_ABSENT) && carry_on(o, number, state);
    }
    if (op->condition == HISTORY_IF_MATCH)
        return with_version(o, number, state, op->match, write_done);
    return holds(o, op, state) && write_done(o, number, state);
}

static bool search(struct oracle *o, size_t state) {
    bool all = true;
    uint64_t earliest_us = HISTORY_NEVER; /* end of what is not done */
    o->tried++;
    for (size_t i = 0; i < o->h->count; i++)
        if (o->required[i] && !o->done[i]) {
            all = false;
            if (o->end_us[i] < earliest_us)
                earliest_us = o->end_us[i];
        }
    if (all)
        return true;
    for (size_t i = 0; i < o->h->count; i++)
        if (!o->never[i] && !o->done[i] && o->begin_us[i] <= earliest_us && place(o, i, state))
            return true;
    return false;
}

static bool versions_fit(struct oracle *o) {
    for (size_t i = 0; i < o->h->count; i++)
        o->versions[i] = HISTORY_NONE;
    for (size_t i = 0; i < o->h->count; i++) {
        const struct history_op *op = &o->h->ops[i];
        if (op->outcome != HISTORY_OK || op->value == HISTORY_NONE || op->etag == HISTORY_NONE)
            continue;
        size_t of = setter(o, op->value);
        if (of == OPS_MAX)
            continue;
        if (o->versions[of] != HISTORY_NONE && o->versions[of] != op->etag)
            return false;
        for (size_t j = 0; j < o->h->count; j++)
            if (j != of && o->versions[j] == op->etag)
                return false;
        o->versions[of] = op->etag;
    }
    return true;
}

static bool ever_set(const struct oracle *o, uint64_t end_us) {
    for (size_t i = 0; i < o->h->count; i++) {
        const struct history_op *op = &o->h->ops[i];
        if (op->kind == HISTORY_SET && op->begin_us <= end_us && op->outcome != HISTORY_REFUSED &&
            op->outcome != HISTORY_FAILED)
            return true;
    }
    return false;
}

static bool oracle_agrees(struct oracle *o) {
    if (!versions_fit(o))
        return false;
    for (size_t i = 0; i < o->h->count; i++) {
        const struct history_op *op = &o->h->ops[i];
        bool read = op->kind == HISTORY_GET || op->kind == HISTORY_KEYS,
             answered = op->outcome <= HISTORY_FAILED;
        o->begin_us[i] = op->begin_us;
        o->end_us[i] = op->end_us;
        o->required[i] = answered && !op->weak;
        o->never[i] = op->outcome == HISTORY_REFUSED || (op->outcome == HISTORY_FAILED && op->weak);
        if (read && !op->linearizable) {
            o->never[i] = !answered || op->staleness_us == HISTORY_NEVER;
            o->required[i] = !o->never[i];
            if (!o->never[i])
                o->begin_us[i] -= op->staleness_us < op->begin_us ? op->staleness_us : op->begin_us;
        }
        if (op->kind == HISTORY_KEYS && op->listed_count > 0 && !ever_set(o, op->end_us))
            return false;
        if (op->kind != HISTORY_GET || op->outcome != HISTORY_OK || op->value == HISTORY_NONE)
            continue;
        size_t from = setter(o, op->value);
        if (from == OPS_MAX || o->h->ops[from].begin_us > op->end_us ||
            o->h->ops[from].outcome == HISTORY_REFUSED || o->h->ops[from].outcome == HISTORY_FAILED)
            return false;
    }
    return search(o, OPS_MAX);
}

/* Random histories: of a register that works, then often with a lie in them. */

struct maker {
    struct history *h;
    struct random *random;
    uint64_t points[OPS_MAX];
};

static uint32_t text(struct history *h, char kind, uint64_t number) {
    char out[16];
    snprintf(out, sizeof out, "%c%llu", kind, (unsigned long long)number);
    return history_text(h, out);
}

static void make_op(struct maker *m, size_t number) {
    struct random *r = m->random;
    uint64_t roll = random_below(r, 20);
    struct history_op op = history_op(roll < 8    ? HISTORY_SET
                                      : roll < 11 ? HISTORY_DELETE
                                      : roll < 19 ? HISTORY_GET
                                                  : HISTORY_KEYS);
    op.begin_us = random_below(r, 20);
    op.end_us = op.begin_us + random_below(r, 9);
    op.outcome = HISTORY_OK;
    m->points[number] = op.begin_us + random_below(r, op.end_us - op.begin_us + 1);
    if (op.kind != HISTORY_KEYS)
        op.key = history_text(m->h, "k");
    if (op.kind == HISTORY_SET)
        op.value = text(m->h, 'v', number);
    if (op.kind == HISTORY_SET || op.kind == HISTORY_DELETE) {
        op.condition = random_below(r, 2) ? (enum history_condition)random_below(r, 4) : HISTORY_ALWAYS;
        op.weak = random_below(r, 8) == 0;
    } else {
        op.linearizable = random_below(r, 4) > 0;
        if (op.kind == HISTORY_GET && !op.linearizable && random_below(r, 2)) {
            op.staleness_us = random_below(r, 8);
            m->points[number] -= random_below(r, op.staleness_us + 1);
        }
    }
    history_add(m->h, &op);
}

/* Answers as the register gives them; points at or before 2^63 come first. */
static void carry_out(struct maker *m) {
    size_t state = OPS_MAX;
    bool done[OPS_MAX] = {false};
    for (size_t step = 0; step < m->h->count; step++) {
        size_t next = OPS_MAX;
        for (size_t i = 0; i < m->h->count; i++)
            if (!done[i] && (next == OPS_MAX || (int64_t)m->points[i] < (int64_t)m->points[next]))
                next = i;
        struct history_op *op = &m->h->ops[next];
        done[next] = true;
        bool write = op->kind == HISTORY_SET || op->kind == HISTORY_DELETE;
        if (op->condition == HISTORY_IF_MATCH)
            op->match = state != OPS_MAX && random_below(m->random, 3)
                            ? text(m->h, 'e', state)
                            : text(m->h, 'e', random_below(m->random, 7));
        bool met =
            op->condition == HISTORY_ALWAYS ||
            (op->condition == HISTORY_IF_MATCH ? state != OPS_MAX && op->match == text(m->h, 'e', state)
                                               : (op->condition == HISTORY_IF_EXISTS) == (state != OPS_MAX));
        uint64_t fate = random_below(m->random, 10);
        if (write && fate < 2) { /* no answer: carried out, or not */
            op->outcome = HISTORY_UNKNOWN;
            op->end_us = HISTORY_NEVER;
            state = fate == 0 && met ? (op->kind == HISTORY_SET ? next : OPS_MAX) : state;
        } else if (write && fate == 2) {
            op->outcome = HISTORY_REFUSED;
        } else if (write && !met) {
            op->outcome = HISTORY_FAILED;
            op->etag = state != OPS_MAX ? text(m->h, 'e', state) : HISTORY_NONE;
        } else if (write) {
            op->etag = op->kind == HISTORY_SET ? text(m->h, 'e', next) : HISTORY_NONE;
            if (!op->weak || random_below(m->random, 2)) /* else lost */
                state = op->kind == HISTORY_SET ? next : OPS_MAX;
        } else if (op->kind == HISTORY_GET && state != OPS_MAX) {
            op->value = m->h->ops[state].value;
            op->etag = random_below(m->random, 2) ? text(m->h, 'e', state) : HISTORY_NONE;
        } else if (op->kind == HISTORY_KEYS && state != OPS_MAX) {
            op->listed = m->h->listed_count;
            op->listed_count = 1;
            m->h->listed = reallocarray(m->h->listed, m->h->listed_count + 1, sizeof *m->h->listed);
            m->h->listed[m->h->listed_count++] = history_text(m->h, "k");
        }
    }
}

static void lie(struct maker *m) {
    struct history_op *op = &m->h->ops[random_below(m->random, m->h->count)];
    uint64_t other = random_below(m->random, m->h->count);
    switch (random_below(m->random, 5)) {
    case 0:
        if (op->kind == HISTORY_GET)
            op->value = random_below(m->random, 3) ? text(m->h, 'v', other) : HISTORY_NONE;
        op->etag = op->kind == HISTORY_GET ? HISTORY_NONE : op->etag;
        break;
    case 1:
        if (op->etag != HISTORY_NONE)
            op->etag = text(m->h, 'e', other);
        break;
    case 2:
        if (op->end_us != HISTORY_NEVER) {
            op->begin_us = op->begin_us > 6 ? op->begin_us - 6 : op->begin_us;
            op->end_us = op->begin_us;
        }
        break;
    case 3:
        if (op->outcome == HISTORY_FAILED)
            op->outcome = HISTORY_OK, op->etag = HISTORY_NONE;
        break;
    case 4:
        op->weak = false;
        break;
    }
}

static size_t count_rounds(void) {
    const char *set = getenv("CHECK_ROUNDS");
    return set != NULL ? strtoul(set, NULL, 10) : ROUNDS_DEFAULT;
}

static void print_history(const struct history *h) {
    char line[512];
    for (size_t i = 0; i < h->count; i++) {
        history_line(h, &h->ops[i], line, sizeof line);
        printf("#   %s\n", line);
    }
}

TEST(the_judge_and_an_oracle_that_tries_every_order_agree) {
    struct random random;
    size_t violated = 0, kept = 0, bound = 0, rounds = count_rounds();
    random_seed(&random, 7);
    for (size_t round = 0; round < rounds; round++) {
        struct history h;
        struct verdict verdict;
        struct verdict_options options = {0};
        struct maker maker = {.h = &h, .random = &random};
        history_init(&h);
        size_t count = 2 + random_below(&random, OPS_MAX - 1);
        for (size_t i = 0; i < count; i++)
            make_op(&maker, i);
        carry_out(&maker);
        bool lied = random_below(&random, 3) > 0;
        for (uint64_t lies = 1 + random_below(&random, 3); lied && lies > 0; lies--)
            lie(&maker);
        struct oracle oracle = {.h = &h};
        bool agrees = oracle_agrees(&oracle);
        history_judge(&h, &options, &verdict);
        /* A version that was told only with a refusal is some version to the judge. */
        bool same = agrees ? verdict.result == LINEAR_OK : verdict.result == LINEAR_VIOLATED || oracle.bound;
        if (!OK(same) || !OK(lied || agrees)) {
            printf("# round %zu: the oracle says %d, the judge %d: %s\n", round, agrees, verdict.result,
                   verdict.text);
            print_history(&h);
        }
        violated += verdict.result == LINEAR_VIOLATED;
        kept += verdict.result == LINEAR_OK;
        bound += oracle.bound;
        history_release(&h);
    }
    printf("# %zu kept, %zu violated, %zu with a version that was not told\n", kept, violated, bound);
    OK(violated > rounds / 10);
    OK(kept > rounds / 2);
    OK(bound < rounds / 10);
}

/* Size. */

TEST(a_long_history_with_many_writes_that_were_never_answered_is_judged_in_few_steps) {
    struct history h;
    struct verdict verdict;
    struct verdict_options options = {0};
    struct random random;
    uint32_t state = HISTORY_NONE;
    history_init(&h);
    random_seed(&random, 3);
    for (size_t i = 0; i < 4000; i++) {
        uint64_t roll = random_below(&random, 10);
        struct history_op op = history_op(roll < 5 ? HISTORY_SET : roll < 6 ? HISTORY_DELETE : HISTORY_GET);
        op.key = history_text(&h, "k");
        op.begin_us = 10 * i;
        op.end_us = 10 * i + 40; /* four at a time */
        op.outcome = HISTORY_OK;
        op.linearizable = op.kind == HISTORY_GET;
        if (op.kind == HISTORY_GET) {
            op.value = state;
        } else {
            op.value = op.kind == HISTORY_SET ? text(&h, 'v', i) : HISTORY_NONE;
            if (random_below(&random, 10) == 0) {
                op.outcome = HISTORY_UNKNOWN;
                op.end_us = HISTORY_NEVER;
            }
            if (op.outcome == HISTORY_OK || random_below(&random, 2))
                state = op.value;
        }
        history_add(&h, &op);
    }
    history_judge(&h, &options, &verdict);
    EQUAL(verdict.result, LINEAR_OK);
    printf("# %llu steps\n", (unsigned long long)verdict.steps);
    OK(verdict.steps < 2000000);
    options.steps_max = 10;
    history_judge(&h, &options, &verdict);
    EQUAL(verdict.result, LINEAR_UNDECIDED);
    history_release(&h);
}

TESTS(TAP(a_read_that_began_after_a_write_ended_sees_it), TAP(a_read_is_no_staler_than_it_says),
      TAP(once_a_write_without_an_answer_was_seen_it_stays),
      TAP(a_write_without_an_answer_may_explain_what_stands_against_a_condition),
      TAP(of_two_writes_on_one_condition_one_is_done),
      TAP(a_weak_write_may_be_lost_and_one_that_a_majority_has_may_not),
      TAP(a_weak_write_that_nobody_saw_may_stand_behind_a_condition_that_somebody_used),
      TAP(what_nobody_wrote_is_never_read),
      TAP(an_attempt_taken_back_may_have_been_read_though_the_pair_then_failed),
      TAP(a_version_names_one_value), TAP(a_pair_is_one_write),
      TAP(a_read_that_promises_nothing_may_see_an_attempt_that_was_taken_back),
      TAP(a_listing_names_what_was_there_all_the_time_and_nothing_that_was_not),
      TAP(what_is_no_history_to_judge_is_said), TAP(the_judge_and_an_oracle_that_tries_every_order_agree),
      TAP(a_long_history_with_many_writes_that_were_never_answered_is_judged_in_few_steps))
