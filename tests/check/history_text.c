/* Histories as text: the lines that history.h describes. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check/history.h"

#define HEAD "kvnode-history 1"

static const char *const kinds[] = {
    [HISTORY_SET] = "set", [HISTORY_DELETE] = "delete", [HISTORY_GET] = "get", [HISTORY_KEYS] = "keys"};
static const char *const outcomes[] = {[HISTORY_OK] = "ok",
                                       [HISTORY_FAILED] = "failed",
                                       [HISTORY_REFUSED] = "refused",
                                       [HISTORY_UNKNOWN] = "unknown"};

/* Reading. */

struct line {
    struct history *h;
    struct history_op op;
    bool outcome, begun, absent;
    char *listed; /* NULL: none */
};

static int digit(char c) {
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

/* In place. A NUL byte is malformed: texts here end with one. */
static bool decode(char *text) {
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);
        if (low < 0 || high + low == 0)
            return false;
        *to++ = (char)(high * 16 + low);
        from += 2;
    }
    *to = '\0';
    return true;
}

static bool number(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && *end == '\0' && errno == 0;
}

static bool number_field(struct line *line, const char *name, const char *value) {
    uint64_t got;
    if (!number(value, &got))
        return false;
    if (strcmp(name, "process") == 0)
        line->op.process = (uint32_t)got;
    else if (strcmp(name, "node") == 0)
        line->op.node = (uint32_t)got;
    else if (strcmp(name, "begin") == 0)
        line->op.begin_us = got, line->begun = true;
    else if (strcmp(name, "end") == 0)
        line->op.end_us = got;
    else if (strcmp(name, "staleness-ms") == 0)
        line->op.staleness_us = got * 1000;
    else if (strcmp(name, "limit") == 0)
        line->op.limit = got;
    else
        return false;
    return true;
}

static bool field(struct line *line, const char *name, char *value) {
    struct history_op *op = &line->op;
    const struct {
        const char *name;
        uint32_t *to;
    } texts[] = {{"key", &op->key},       {"value", &op->value},     {"etag", &op->etag},
                 {"client", &op->client}, {"request", &op->request}, {"prefix", &op->prefix},
                 {"after", &op->after}};
    if (strcmp(name, "listed") == 0) {
        line->listed = value;
        return op->kind == HISTORY_KEYS;
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(name, texts[i].name) == 0) {
            if (!decode(value))
                return false;
            *texts[i].to = history_text(line->h, value);
            return true;
        }
    if (strcmp(name, "if-none-match") == 0 && strcmp(value, "*") == 0) {
        op->condition = HISTORY_IF_ABSENT;
        return true;
    }
    if (strcmp(name, "if-match") != 0)
        return number_field(line, name, value);
    op->condition = strcmp(value, "*") == 0 ? HISTORY_IF_EXISTS : HISTORY_IF_MATCH;
    if (op->condition == HISTORY_IF_MATCH) {
        if (!decode(value))
            return false;
        op->match = history_text(line->h, value);
    }
    return true;
}

static bool word(struct line *line, char *text) {
    char *value = strchr(text, '=');
    if (value != NULL) {
        *value = '\0';
        return field(line, text, value + 1);
    }
    for (unsigned i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        if (strcmp(text, outcomes[i]) == 0) {
            line->op.outcome = (enum history_outcome)i;
            line->outcome = true;
            return true;
        }
    if (strcmp(text, "weak") == 0)
        line->op.weak = true;
    else if (strcmp(text, "linearizable") == 0)
        line->op.linearizable = true;
    else if (strcmp(text, "absent") == 0)
        line->absent = true;
    else
        return false;
    return true;
}

/* What is wrong with the whole line; NULL: nothing. */
static const char *complete(const struct line *line) {
    const struct history_op *op = &line->op;
    bool write = op->kind == HISTORY_SET || op->kind == HISTORY_DELETE;
    if (!line->begun || !line->outcome)
        return "begin and an outcome are required";
    if (op->end_us < op->begin_us)
        return "it ends before it begins";
    if (op->outcome != HISTORY_UNKNOWN && op->end_us == HISTORY_NEVER)
        return "an outcome that is known has an end";
    if ((op->kind == HISTORY_KEYS) != (op->key == HISTORY_NONE))
        return "set, delete and get have a key, keys has none";
    if (op->kind == HISTORY_SET && op->value == HISTORY_NONE)
        return "a set has a value";
    if (op->kind == HISTORY_GET && op->outcome == HISTORY_OK && line->absent == (op->value != HISTORY_NONE))
        return "a get that is ok has a value or is absent";
    if (op->kind == HISTORY_KEYS && op->outcome == HISTORY_OK && line->listed == NULL)
        return "a listing that is ok has what it listed";
    if ((op->client == HISTORY_NONE) != (op->request == HISTORY_NONE))
        return "client and request come together";
    if (!write && (op->weak || op->condition != HISTORY_ALWAYS || op->client != HISTORY_NONE))
        return "only writes are weak, have conditions or a pair";
    if (!write && op->outcome == HISTORY_FAILED)
        return "only writes fail";
    return NULL;
}

static const char *read_line(struct history *h, char *text) {
    struct line line = {.h = h};
    const char *kind = strsep(&text, " "), *wrong;
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0] && line.op.end_us == 0; i++)
        if (strcmp(kind, kinds[i]) == 0)
            line.op = history_op((enum history_kind)i);
    if (line.op.end_us == 0)
        return "no such kind of operation";
    for (char *part; (part = strsep(&text, " ")) != NULL;)
        if (*part != '\0' && !word(&line, part))
            return "a field is unknown or malformed";
    if ((wrong = complete(&line)) != NULL)
        return wrong;
    history_add(h, &line.op);
    for (char *key;
         line.listed != NULL && *line.listed != '\0' && (key = strsep(&line.listed, ",")) != NULL;) {
        if (!decode(key))
            return "a listed key is malformed";
        history_listed(h, h->count - 1, history_text(h, key));
        if (line.listed == NULL)
            break;
    }
    return NULL;
}

bool history_read(struct history *h, FILE *in, char *why, size_t why_size) {
    char *text = NULL;
    const char *wrong = NULL;
    size_t capacity = 0, number_of = 0;
    bool headed = false;
    while (wrong == NULL && getline(&text, &capacity, in) > 0) {
        number_of++;
        text[strcspn(text, "\n")] = '\0';
        if (text[0] == '\0' || text[0] == '#')
            continue;
        if (headed)
            wrong = read_line(h, text);
        else if (strcmp(text, HEAD) == 0)
            headed = true;
        else
            wrong = "a history begins with the line \"" HEAD "\"";
    }
    if (wrong == NULL && !headed)
        wrong = "it is empty";
    if (wrong != NULL)
        snprintf(why, why_size, "line %zu: %s", number_of, wrong);
    free(text);
    return wrong == NULL;
}

/* Writing. */

struct out {
    char *data;
    size_t size, at;
};

static void put(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct out *out, const char *format, ...) {
    if (out->at >= out->size)
        return;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(out->data + out->at, out->size - out->at, format, arguments);
    va_end(arguments);
    out->at += (size_t)size;
}

static void put_encoded(struct out *out, const char *text) {
    for (const char *c = text; *c != '\0'; c++)
        put(out, isalnum((unsigned char)*c) || strchr("._-", *c) != NULL ? "%c" : "%%%02X", (uint8_t)*c);
}

static void put_text(struct out *out, const struct history *h, const char *name, uint32_t text) {
    if (text == HISTORY_NONE)
        return;
    put(out, " %s=", name);
    put_encoded(out, h->texts[text]);
}

static void put_words(struct out *out, const struct history *h, const struct history_op *op) {
    static const char *const conditions[] = {
        [HISTORY_IF_EXISTS] = " if-match=*", [HISTORY_IF_ABSENT] = " if-none-match=*"};
    put_text(out, h, "key", op->key);
    put_text(out, h, "value", op->value);
    if (op->kind == HISTORY_GET && op->outcome == HISTORY_OK && op->value == HISTORY_NONE)
        put(out, " absent");
    put_text(out, h, "etag", op->etag);
    put_text(out, h, "if-match", op->match);
    if (op->condition == HISTORY_IF_EXISTS || op->condition == HISTORY_IF_ABSENT)
        put(out, "%s", conditions[op->condition]);
    put_text(out, h, "client", op->client);
    put_text(out, h, "request", op->request);
    put_text(out, h, "prefix", op->prefix);
    put_text(out, h, "after", op->after);
    if (op->limit != HISTORY_NEVER)
        put(out, " limit=%llu", (unsigned long long)op->limit);
    if (op->staleness_us != HISTORY_NEVER)
        put(out, " staleness-ms=%llu", (unsigned long long)op->staleness_us / 1000);
    put(out, "%s%s", op->weak ? " weak" : "", op->linearizable ? " linearizable" : "");
}

void history_line(const struct history *h, const struct history_op *op, char *data, size_t size) {
    struct out out = {data, size, 0};
    put(&out, "%s process=%u node=%u begin=%llu", kinds[op->kind], op->process, op->node,
        (unsigned long long)op->begin_us);
    if (op->end_us != HISTORY_NEVER)
        put(&out, " end=%llu", (unsigned long long)op->end_us);
    put(&out, " %s", outcomes[op->outcome]);
    put_words(&out, h, op);
    if (op->kind == HISTORY_KEYS && op->outcome == HISTORY_OK)
        put(&out, " listed=");
    for (size_t i = 0; i < op->listed_count; i++) {
        put(&out, "%s", i > 0 ? "," : "");
        put_encoded(&out, h->texts[h->listed[op->listed + i]]);
    }
}

void history_write(const struct history *h, FILE *out) {
    fprintf(out, HEAD "\n");
    for (size_t i = 0; i < h->count; i++) {
        size_t size = 4096;
        for (size_t j = 0; j < h->ops[i].listed_count; j++)
            size += 3 * strlen(h->texts[h->listed[h->ops[i].listed + j]]) + 1;
        if (h->ops[i].value != HISTORY_NONE)
            size += 3 * strlen(h->texts[h->ops[i].value]);
        char *line = malloc(size);
        if (line == NULL)
            abort();
        history_line(h, &h->ops[i], line, size);
        fprintf(out, "%s\n", line);
        free(line);
    }
}
