#include "tests/check/verdict.h"

#include <err.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 5000000
#define LINES_MAX 60 /* of an explanation */
#define NONE      UINT32_MAX

#define TWIN_DELETES UINT32_MAX /* sets of a value that nobody saw are twins by that value */

/* A write with all its attempts, or a read. */
struct act {
    struct history_op op;
    size_t source; /* in the history */
    bool merged;   /* a later attempt: its act is the first one of the pair */
    bool retried;  /* what became of one of its attempts is not known */
};

/* A value of the register is the number of the act that set it, + 1. Behind those come two that stand for
 * every value that nobody saw: of a version that nobody knows, and of one that is known. */
struct judge {
    const struct history *h;
    const struct verdict_options *options;
    struct verdict *verdict;
    struct act *acts;
    size_t count;
    /* Of texts, for the key at hand: the act that wrote a value, + 1; the state of a version; 0: none. */
    uint32_t *writers, *states;
    uint32_t *versions; /* of acts: the version's text; NONE */
    uint64_t *seen_us;  /* of acts: the earliest end of an operation that saw its value; HISTORY_NEVER */
    bool *needed;       /* of acts: some operation's condition, or read, names its value */
    size_t *by_key;     /* acts in the order of their keys, then of the history */
    struct linear_op *ops;
    size_t op_count;
    bool presence; /* some operation on the key at hand saw only that there was a value */
};

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL)
        err(1, "out of memory for a check");
    return memory;
}

static const char *text_of(const struct judge *j, uint32_t text) {
    return text == HISTORY_NONE ? "none" : j->h->texts[text];
}

static void wrong(struct judge *j, size_t op, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The first one is kept. */
static void wrong(struct judge *j, size_t op, const char *format, ...) {
    if (j->verdict->result == LINEAR_VIOLATED)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(j->verdict->text, sizeof j->verdict->text, format, arguments);
    va_end(arguments);
    j->verdict->result = LINEAR_VIOLATED;
    j->verdict->op = op;
}

static bool is_write(const struct history_op *op) {
    return op->kind == HISTORY_SET || op->kind == HISTORY_DELETE;
}

static bool is_answered(const struct history_op *op) {
    return op->outcome == HISTORY_OK || op->outcome == HISTORY_FAILED;
}

/* Pairs. */

static void check_same(struct judge *j, const struct act *first, const struct act *other) {
    const struct history_op *a = &first->op, *b = &other->op;
    const char *request = text_of(j, b->request);
    if (a->kind != b->kind || a->key != b->key || a->value != b->value || a->condition != b->condition ||
        a->match != b->match)
        wrong(j, other->source, "request %s is sent with another write", request);
    else if (is_answered(a) && is_answered(b) && (a->outcome != b->outcome || a->etag != b->etag))
        wrong(j, other->source, "request %s is answered with version %s, and with %s", request,
              text_of(j, a->etag), text_of(j, b->etag));
}

/* Its effect comes after the first attempt began and before the first answer came. */
static void merge(struct judge *j, struct act *first, struct act *other) {
    struct history_op *a = &first->op;
    const struct history_op *b = &other->op;
    check_same(j, first, other);
    other->merged = true;
    first->retried = first->retried || a->outcome == HISTORY_UNKNOWN || b->outcome == HISTORY_UNKNOWN;
    if (b->begin_us < a->begin_us)
        a->begin_us = b->begin_us;
    if (is_answered(b)) {
        uint64_t end_us = is_answered(a) && a->end_us < b->end_us ? a->end_us : b->end_us;
        a->outcome = b->outcome;
        a->etag = b->etag;
        a->end_us = end_us;
    } else if (!is_answered(a) && (a->outcome == HISTORY_UNKNOWN || b->outcome == HISTORY_UNKNOWN)) {
        a->outcome = HISTORY_UNKNOWN;
    }
}

static int by_pair(const void *a, const void *b) {
    const struct act *x = *(struct act *const *)a, *y = *(struct act *const *)b;
    if (x->op.client != y->op.client)
        return x->op.client < y->op.client ? -1 : 1;
    if (x->op.request != y->op.request)
        return x->op.request < y->op.request ? -1 : 1;
    return x->source < y->source ? -1 : 1;
}

static void merge_pairs(struct judge *j) {
    struct act **sorted = allocate(j->count, sizeof(struct act *));
    size_t count = 0;
    for (size_t i = 0; i < j->count; i++)
        if (j->acts[i].op.client != HISTORY_NONE)
            sorted[count++] = &j->acts[i];
    qsort(sorted, count, sizeof(struct act *), by_pair);
    for (size_t i = 1, first = 0; i < count; i++) {
        if (sorted[i]->op.client == sorted[first]->op.client &&
            sorted[i]->op.request == sorted[first]->op.request)
            merge(j, sorted[first], sorted[i]);
        else
            first = i;
    }
    free(sorted);
}

/* Values and versions of one key's acts. */

static void note_writers(struct judge *j, const size_t *acts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct history_op *op = &j->acts[acts[i]].op;
        if (op->kind != HISTORY_SET)
            continue;
        if (j->writers[op->value] != 0)
            wrong(j, j->acts[acts[i]].source, "this is no history to judge: two sets write %s to %s",
                  text_of(j, op->value), text_of(j, op->key));
        j->writers[op->value] = (uint32_t)acts[i] + 1;
    }
}

/* A version was told together with a value. A read that promises nothing may have seen an attempt of a pair
 * that was taken back, and the next one has another version. */
static void note_version(struct judge *j, const struct act *act, uint32_t state) {
    uint32_t etag = act->op.etag;
    if (etag == HISTORY_NONE || state == 0)
        return;
    const struct history_op *set = &j->acts[state - 1].op;
    const char *value = text_of(j, set->value);
    bool firm = is_write(&act->op) || act->op.linearizable || set->client == HISTORY_NONE;
    uint32_t known = j->versions[state - 1];
    size_t source = act->source;
    if (firm && known != NONE && known != etag)
        wrong(j, source, "value %s has two versions: %s and %s", value, text_of(j, known), text_of(j, etag));
    if (j->states[etag] != 0 && j->states[etag] != state)
        wrong(j, source, "version %s has two values: %s and %s", text_of(j, etag), value,
              text_of(j, j->acts[j->states[etag] - 1].op.value));
    if (firm)
        j->versions[state - 1] = etag;
    j->states[etag] = state;
}

static void note_versions(struct judge *j, const size_t *acts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct act *act = &j->acts[acts[i]];
        const struct history_op *op = &act->op;
        if (op->outcome == HISTORY_OK && op->value != HISTORY_NONE)
            note_version(j, act, j->writers[op->value]);
    }
}

/* Every read, whatever it promises. One that promises nothing may have seen an attempt of a pair that was
 * taken back; the next one then may fail. */
static void check_read(struct judge *j, const struct act *act) {
    const struct history_op *op = &act->op;
    if (op->kind != HISTORY_GET || op->outcome != HISTORY_OK || op->value == HISTORY_NONE)
        return;
    uint32_t writer = j->writers[op->value];
    const char *value = text_of(j, op->value), *key = text_of(j, op->key);
    if (writer == 0)
        wrong(j, act->source, "a read of %s returned %s, which nobody wrote there", key, value);
    else if (j->acts[writer - 1].op.begin_us > op->end_us)
        wrong(j, act->source, "a read of %s returned %s before it was written", key, value);
    else if (j->acts[writer - 1].op.outcome == HISTORY_REFUSED)
        wrong(j, act->source, "a read of %s returned %s, which was refused", key, value);
    else if (j->acts[writer - 1].op.outcome == HISTORY_FAILED &&
             (op->linearizable || !j->acts[writer - 1].retried))
        wrong(j, act->source, "a read of %s returned %s, whose condition had failed", key, value);
}

/* Operations for the search. */

static bool unversioned(void *arg, uint32_t state) {
    const struct judge *j = arg;
    return state > j->count ? state == j->count + 1 : j->versions[state - 1] == NONE;
}

static void need_version(struct judge *j, struct linear_op *op, uint32_t etag) {
    uint32_t state = j->states[etag];
    op->need = state != 0 ? LINEAR_VALUE : LINEAR_UNVERSIONED;
    op->needed = state;
    j->presence = j->presence || state == 0;
}

static void need_presence(struct judge *j, struct linear_op *op, bool present) {
    op->need = present ? LINEAR_SOME_VALUE : LINEAR_NO_VALUE;
    j->presence = j->presence || present;
}

static void need_held(struct judge *j, struct linear_op *op, const struct history_op *from) {
    if (from->condition == HISTORY_IF_MATCH)
        need_version(j, op, from->match);
    else if (from->condition != HISTORY_ALWAYS)
        need_presence(j, op, from->condition == HISTORY_IF_EXISTS);
}

static void need_failed(struct judge *j, struct linear_op *op, const struct act *act) {
    const struct history_op *from = &act->op;
    if (from->condition == HISTORY_ALWAYS ||
        (from->condition == HISTORY_IF_MATCH && from->match == from->etag) ||
        (from->condition == HISTORY_IF_EXISTS && from->etag != HISTORY_NONE))
        wrong(j, act->source, "a write of %s failed although its condition held", text_of(j, from->key));
    if (from->etag != HISTORY_NONE)
        need_version(j, op, from->etag);
    else
        need_presence(j, op, from->condition == HISTORY_IF_ABSENT);
}

static void add_op(struct judge *j, const struct linear_op *op) {
    j->ops[j->op_count++] = *op;
}

static void add_write(struct judge *j, size_t number) {
    const struct act *act = &j->acts[number];
    const struct history_op *from = &act->op;
    struct linear_op op = {.begin_us = from->begin_us, .end_us = from->end_us, .source = number};
    if (from->outcome == HISTORY_REFUSED || (from->outcome == HISTORY_FAILED && from->weak))
        return;
    op.required = is_answered(from) && !from->weak;
    if (from->outcome == HISTORY_FAILED) {
        need_failed(j, &op, act);
    } else {
        need_held(j, &op, from);
        op.writes = true;
        op.value = from->kind == HISTORY_SET ? (uint32_t)number + 1 : LINEAR_ABSENT;
    }
    add_op(j, &op);
}

static void add_get(struct judge *j, size_t number) {
    const struct history_op *from = &j->acts[number].op;
    uint64_t early = from->linearizable ? 0 : from->staleness_us;
    if (from->outcome != HISTORY_OK || early == HISTORY_NEVER)
        return;
    struct linear_op op = {
        .begin_us = from->begin_us > early ? from->begin_us - early : 0,
        .end_us = from->end_us,
        .need = from->value != HISTORY_NONE ? LINEAR_VALUE : LINEAR_NO_VALUE,
        .needed = from->value != HISTORY_NONE ? j->writers[from->value] : 0,
        .required = true,
        .source = number,
    };
    add_op(j, &op);
}

/* Whether the listing speaks of the key, which the history has. */
static bool covers(const struct judge *j, const struct history_op *keys, const char *key) {
    const char *prefix = keys->prefix != HISTORY_NONE ? text_of(j, keys->prefix) : "";
    if (strncmp(key, prefix, strlen(prefix)) != 0)
        return false;
    if (keys->after != HISTORY_NONE && strcmp(key, text_of(j, keys->after)) <= 0)
        return false;
    if (keys->listed_count < keys->limit)
        return true;
    return keys->listed_count > 0 &&
           strcmp(key, text_of(j, j->h->listed[keys->listed + keys->listed_count - 1])) <= 0;
}

static bool lists(const struct judge *j, const struct history_op *keys, uint32_t key) {
    for (size_t i = 0; i < keys->listed_count; i++)
        if (j->h->listed[keys->listed + i] == key)
            return true;
    return false;
}

static void add_listings(struct judge *j, uint32_t key) {
    for (size_t i = 0; i < j->count; i++) {
        const struct history_op *from = &j->acts[i].op;
        if (from->kind != HISTORY_KEYS || from->outcome != HISTORY_OK || !from->linearizable ||
            !covers(j, from, text_of(j, key)))
            continue;
        struct linear_op op = {
            .begin_us = from->begin_us, .end_us = from->end_us, .required = true, .source = i};
        need_presence(j, &op, lists(j, from, key));
        add_op(j, &op);
    }
}

static bool sees(struct judge *j, const struct linear_op *op) {
    if (op->need != LINEAR_VALUE || !op->required || op->end_us >= j->seen_us[op->needed - 1])
        return false;
    j->seen_us[op->needed - 1] = op->end_us;
    return true;
}

/* One whose value was seen has happened, before that was answered; so has what its own condition saw. */
static void require_seen(struct judge *j) {
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < j->op_count; i++) {
            struct linear_op *op = &j->ops[i];
            uint64_t seen_us =
                op->writes && op->value != LINEAR_ABSENT ? j->seen_us[op->value - 1] : HISTORY_NEVER;
            if (seen_us != HISTORY_NEVER && (!op->required || seen_us < op->end_us)) {
                op->required = true;
                op->end_us = seen_us;
            }
            again = sees(j, op) || again;
        }
    }
}

/* What nobody can have seen is left out, or one value for all where somebody saw that there was one. */
static void drop_unseen(struct judge *j) {
    size_t kept = 0;
    for (size_t i = 0; i < j->op_count; i++)
        if (j->ops[i].need == LINEAR_VALUE)
            j->needed[j->ops[i].needed - 1] = true;
    for (size_t i = 0; i < j->op_count; i++) {
        struct linear_op *op = &j->ops[i];
        bool sets = op->writes && op->value != LINEAR_ABSENT, unseen = sets && !j->needed[op->value - 1];
        if (op->required && op->end_us < op->begin_us)
            wrong(j, j->acts[op->source].source, "value %s was seen before it was written",
                  text_of(j, j->acts[op->source].op.value));
        if (!op->required && unseen && !j->presence)
            continue;
        if (!op->required && unseen)
            op->value = (uint32_t)j->count + (unversioned(j, op->value) ? 1 : 2);
        if (!op->required && op->need == LINEAR_ANY && (unseen || !sets))
            op->twins = sets ? op->value : TWIN_DELETES;
        j->ops[kept++] = *op;
    }
    j->op_count = kept;
}

static void search(struct judge *j, uint32_t key) {
    struct linear_options options = {
        .steps_max = j->options->steps_max > 0 ? j->options->steps_max : STEPS_MAX,
        .unversioned = unversioned,
        .arg = j,
    };
    struct linear_report report;
    enum linear_result result = linear_check(j->ops, j->op_count, &options, &report);
    j->verdict->judged += j->op_count;
    j->verdict->steps += report.steps;
    if (result == LINEAR_VIOLATED)
        wrong(j, j->acts[j->ops[report.stuck].source].source, "key %s is not linearizable", text_of(j, key));
    if (result == LINEAR_UNDECIDED && j->verdict->result == LINEAR_OK) {
        j->verdict->result = LINEAR_UNDECIDED;
        snprintf(j->verdict->text, sizeof j->verdict->text, "key %s was not decided in %llu steps",
                 text_of(j, key), (unsigned long long)options.steps_max);
    }
}

static void judge_key(struct judge *j, const size_t *acts, size_t count) {
    uint32_t key = j->acts[acts[0]].op.key;
    j->op_count = 0;
    j->presence = false;
    note_writers(j, acts, count);
    note_versions(j, acts, count);
    for (size_t i = 0; i < count; i++)
        check_read(j, &j->acts[acts[i]]);
    for (size_t i = 0; i < count && j->verdict->result != LINEAR_VIOLATED; i++) {
        if (is_write(&j->acts[acts[i]].op))
            add_write(j, acts[i]);
        else
            add_get(j, acts[i]);
    }
    add_listings(j, key);
    require_seen(j);
    drop_unseen(j);
    if (j->verdict->result != LINEAR_VIOLATED)
        search(j, key);
    j->verdict->keys++;
    for (size_t i = 0; i < count; i++) {
        const struct history_op *op = &j->acts[acts[i]].op;
        if (op->value != HISTORY_NONE)
            j->writers[op->value] = 0;
        if (op->etag != HISTORY_NONE)
            j->states[op->etag] = 0;
    }
}

/* Listings by themselves. */

static bool may_have_set(const struct history_op *op, uint32_t key, uint64_t end_us) {
    return op->kind == HISTORY_SET && op->key == key && op->begin_us <= end_us &&
           op->outcome != HISTORY_REFUSED && op->outcome != HISTORY_FAILED;
}

/* A listing that promises nothing may have an attempt that was taken back, whatever became of a later one. */
static bool may_be_there(const struct judge *j, uint32_t key, const struct history_op *listing) {
    for (size_t i = 0; i < j->count; i++)
        if (!j->acts[i].merged && may_have_set(&j->acts[i].op, key, listing->end_us))
            return true;
    for (size_t i = 0; i < j->h->count && !listing->linearizable; i++)
        if (may_have_set(&j->h->ops[i], key, listing->end_us))
            return true;
    return false;
}

static void check_listing(struct judge *j, const struct act *act) {
    const struct history_op *op = &act->op;
    const char *before = NULL;
    if (op->listed_count > op->limit)
        wrong(j, act->source, "a listing has more keys than its limit");
    for (size_t i = 0; i < op->listed_count; i++) {
        uint32_t number = j->h->listed[op->listed + i];
        const char *key = text_of(j, number);
        if (before != NULL && strcmp(before, key) >= 0)
            wrong(j, act->source, "a listing has %s behind %s", key, before);
        if (!covers(j, op, key))
            wrong(j, act->source, "a listing has %s, which it was not asked for", key);
        if (!may_be_there(j, number, op))
            wrong(j, act->source, "a listing has %s, which nobody had set", key);
        before = key;
    }
}

/* The whole. */

static void collect(struct judge *j) {
    for (size_t i = 0; i < j->count; i++) {
        j->acts[i] = (struct act){.op = j->h->ops[i], .source = i};
        j->versions[i] = NONE;
        j->seen_us[i] = HISTORY_NEVER;
    }
}

static int by_key(const void *a, const void *b, void *arg) {
    const struct judge *j = arg;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    if (j->acts[x].op.key != j->acts[y].op.key)
        return j->acts[x].op.key < j->acts[y].op.key ? -1 : 1;
    return x < y ? -1 : x > y;
}

static void judge_keys(struct judge *j) {
    size_t count = 0;
    for (size_t i = 0; i < j->count; i++)
        if (j->acts[i].op.kind != HISTORY_KEYS && !j->acts[i].merged)
            j->by_key[count++] = i;
    qsort_r(j->by_key, count, sizeof *j->by_key, by_key, j);
    for (size_t from = 0, to; from < count && j->verdict->result != LINEAR_VIOLATED; from = to) {
        for (to = from + 1; to < count && j->acts[j->by_key[to]].op.key == j->acts[j->by_key[from]].op.key;)
            to++;
        judge_key(j, j->by_key + from, to - from);
    }
}

void history_judge(const struct history *h, const struct verdict_options *options, struct verdict *verdict) {
    struct judge j = {.h = h, .options = options, .verdict = verdict, .count = h->count};
    *verdict = (struct verdict){.op = SIZE_MAX};
    j.acts = allocate(h->count, sizeof *j.acts);
    j.writers = allocate(h->text_count, sizeof *j.writers);
    j.states = allocate(h->text_count, sizeof *j.states);
    j.versions = allocate(h->count, sizeof *j.versions);
    j.seen_us = allocate(h->count, sizeof *j.seen_us);
    j.needed = allocate(h->count, sizeof *j.needed);
    j.by_key = allocate(h->count, sizeof *j.by_key);
    j.ops = allocate(h->count, sizeof *j.ops);
    collect(&j);
    merge_pairs(&j);
    for (size_t i = 0; i < j.count; i++)
        if (j.acts[i].op.kind == HISTORY_KEYS && j.acts[i].op.outcome == HISTORY_OK)
            check_listing(&j, &j.acts[i]);
    if (verdict->result == LINEAR_OK)
        judge_keys(&j);
    free(j.acts);
    free(j.writers);
    free(j.states);
    free(j.versions);
    free(j.seen_us);
    free(j.needed);
    free(j.by_key);
    free(j.ops);
}

void verdict_explain(const struct history *h, const struct verdict *verdict, FILE *out) {
    if (verdict->op >= h->count)
        return;
    const struct history_op *about = &h->ops[verdict->op];
    char line[1024];
    size_t skip = 0, left = 0;
    for (size_t pass = 0; pass < 2; pass++) {
        skip = left > LINES_MAX ? left - LINES_MAX : 0;
        left = 0;
        for (size_t i = 0; i < h->count; i++) {
            const struct history_op *op = &h->ops[i];
            if ((op->key != about->key && op->kind != HISTORY_KEYS) || op->begin_us > about->end_us)
                continue;
            if (left++ < skip || pass == 0)
                continue;
            history_line(h, op, line, sizeof line);
            fprintf(out, "%s%s\n", i == verdict->op ? "> " : "  ", line);
        }
    }
}
