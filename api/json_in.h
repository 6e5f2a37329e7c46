/* A strict JSON reader (RFC 8259) over bytes it may change: strings are unescaped in place.
 *
 * It is a cursor with a sticky error: read on, ask json_ok at the end. Refused (bug 49): invalid UTF-8, lone
 * surrogates, raw control bytes, duplicate names, trailing commas, bytes after the value, leading zeros,
 * nesting deeper than JSON_DEPTH_MAX. "\u0000" is a byte like any other, so sizes and never ends are used
 * (bug 48).
 *
 *     struct json j = json_of(data, size);
 *     for (json_open_object(&j); json_next_member(&j, &name);)
 *         ... exactly one value is read or skipped ...
 *     json_end(&j);
 */
#ifndef API_JSON_IN_H
#define API_JSON_IN_H

#include "storage/bytes.h"

#define JSON_DEPTH_MAX   16
#define JSON_MEMBERS_MAX 64 /* names of a skipped object: they are compared in pairs */

struct json {
    uint8_t *at, *end;
    bool first;        /* right behind an opening bracket */
    const char *error; /* NULL: none so far */
};

static inline struct json json_of(uint8_t *data, size_t size) {
    return (struct json){.at = data, .end = data + size};
}

void json_open_object(struct json *j);
/* False at the end of the object, or after an error. Names that occur twice are the caller's to find, except
 * in skipped values. */
bool json_next_member(struct json *j, struct bytes *name);
void json_open_array(struct json *j);
bool json_next_element(struct json *j);

struct bytes json_string(struct json *j);
uint64_t json_u64(struct json *j); /* a whole number without sign, fraction or exponent */
bool json_bool(struct json *j);
/* A whole value of any kind, checked all the same. */
void json_skip(struct json *j);
/* Nothing but white space may be left. */
void json_end(struct json *j);
void json_fail(struct json *j, const char *error);

/* The byte a value begins with, 0 at the end: '"', '{', '[', 't', '-', ... */
uint8_t json_peek(struct json *j);

static inline bool json_ok(const struct json *j) {
    return j->error == NULL;
}

/* The body of POST /set: {"key":"...","value":"..."} in any order, both once and nothing else. */
struct json_set {
    struct bytes key, value; /* borrowed from data */
    struct bytes unknown;    /* name of a field that is not known; data NULL: none */
    const char *error;
};

bool json_read_set(uint8_t *data, size_t size, struct json_set *out);

/* Size of the first bytes that are valid UTF-8 (RFC 3629); size if all are. */
size_t utf8_valid(struct bytes text);

#endif
