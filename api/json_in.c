#include "api/json_in.h"

#include "api/scan.h"

/* ---- UTF-8 ---- */

/* Bytes of the character that begins at `at`, 0 where none does (RFC 3629: no overlong forms, no surrogates,
 * nothing above U+10FFFF). */
static size_t utf8_character(const uint8_t *at, size_t left) {
    uint8_t c = at[0], low = 0x80, high = 0xbf;
    size_t size = c < 0x80                 ? 1
                  : c >= 0xc2 && c <= 0xdf ? 2
                  : (c & 0xf0) == 0xe0     ? 3
                  : c >= 0xf0 && c <= 0xf4 ? 4
                                           : 0;
    if (size == 0 || size > left)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < size; i++) {
        if (at[i] < low || at[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return size;
}

size_t utf8_valid(struct bytes text) {
    size_t at = 0;
    while (at < text.size) {
        uint64_t word;
        while (text.size - at >= 8 && (memcpy(&word, text.data + at, 8), (word & 0x8080808080808080u) == 0))
            at += 8;
        if (at == text.size)
            break;
        size_t size = utf8_character(text.data + at, text.size - at);
        if (size == 0)
            return at;
        at += size;
    }
    return at;
}

static size_t utf8_put(uint8_t *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xc0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xe0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (code & 0x3f));
    return 4;
}

/* ---- strings ---- */

void json_fail(struct json *j, const char *error) {
    if (j->error == NULL)
        j->error = error;
    j->at = j->end; /* what follows reads as ended */
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline void skip_space(struct json *j) {
    while (j->at < j->end && *j->at <= ' ' && is_space(*j->at))
        j->at++;
}

uint8_t json_peek(struct json *j) {
    skip_space(j);
    return j->at < j->end ? *j->at : 0;
}

/* Consumes `c` after white space. */
static inline bool take(struct json *j, uint8_t c) {
    skip_space(j);
    if (j->at == j->end || *j->at != c)
        return false;
    j->at++;
    return true;
}

/* Plain bytes of a string: ASCII but quote, backslash and control bytes. */
static uint8_t *skip_plain(uint8_t *at, const uint8_t *end) {
    while (end - at >= SCAN_BLOCK) {
        unsigned first = scan_string(at);
        at += first;
        if (first < SCAN_BLOCK)
            return at;
    }
    while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* Four hexadecimal digits at `at`; -1 where they are none. */
static int32_t hex4(const uint8_t *at, const uint8_t *end) {
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i], lower = c | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Behind `\u`; surrogates come in pairs (RFC 8259, section 7). */
static uint8_t *unescape_code(struct json *j, uint8_t *out) {
    int32_t code = hex4(j->at, j->end);
    if (code < 0 || (code & 0xfc00) == 0xdc00) {
        json_fail(j,
                  code < 0 ? "\\u is not followed by four hexadecimal digits" : "a surrogate stands alone");
        return out;
    }
    j->at += 4;
    if ((code & 0xfc00) == 0xd800) {
        int32_t low =
            j->end - j->at >= 6 && j->at[0] == '\\' && j->at[1] == 'u' ? hex4(j->at + 2, j->end) : -1;
        if (low < 0 || (low & 0xfc00) != 0xdc00) {
            json_fail(j, "a surrogate stands alone");
            return out;
        }
        j->at += 6;
        code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
    }
    return out + utf8_put(out, (uint32_t)code);
}

/* Behind a backslash. */
static uint8_t *unescape(struct json *j, uint8_t *out) {
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (j->at == j->end) {
        json_fail(j, "a string has no end");
        return out;
    }
    uint8_t c = *j->at++;
    if (c == 'u')
        return unescape_code(j, out);
    const char *name = c != '\0' ? strchr(names, c) : NULL;
    if (name == NULL) {
        json_fail(j, "a backslash is followed by a character that it does not escape");
        return out;
    }
    *out = (uint8_t)bytes[name - names];
    return out + 1;
}

/* From the first byte that is not plain; `start` is where the content begins. */
static struct bytes string_tail(struct json *j, uint8_t *start) {
    uint8_t *out = j->at;
    while (j->at < j->end && *j->at != '"') {
        if (*j->at == '\\') {
            j->at++;
            out = unescape(j, out);
            continue;
        }
        uint8_t *from = j->at;
        size_t size = utf8_character(from, (size_t)(j->end - from));
        if (size == 0 || *from < 0x20) {
            json_fail(j, size == 0 ? "a string is not UTF-8"
                                   : "a string holds a control byte that is not escaped");
            break;
        }
        j->at = size == 1 ? skip_plain(from, j->end) : from + size;
        memmove(out, from, (size_t)(j->at - from));
        out += j->at - from;
    }
    if (!json_ok(j))
        return (struct bytes){NULL, 0};
    if (j->at == j->end) {
        json_fail(j, "a string has no end");
        return (struct bytes){NULL, 0};
    }
    j->at++;
    return (struct bytes){start, (size_t)(out - start)};
}

struct bytes json_string(struct json *j) {
    if (!take(j, '"')) {
        json_fail(j, "a string was expected");
        return (struct bytes){NULL, 0};
    }
    j->first = false;
    uint8_t *start = j->at;
    j->at = skip_plain(start, j->end);
    if (j->at < j->end && *j->at == '"')
        return (struct bytes){start, (size_t)(j->at++ - start)};
    return string_tail(j, start);
}

/* ---- objects and arrays ---- */

static void open_bracket(struct json *j, uint8_t bracket, const char *error) {
    if (!take(j, bracket))
        json_fail(j, error);
    j->first = true;
}

/* True where another one follows. */
static bool next(struct json *j, uint8_t bracket) {
    if (!json_ok(j))
        return false;
    if (take(j, bracket)) {
        j->first = false;
        return false;
    }
    if (!j->first && !take(j, ',')) {
        json_fail(j, "a comma or a closing bracket was expected");
        return false;
    }
    j->first = false;
    return true;
}

void json_open_object(struct json *j) {
    open_bracket(j, '{', "an object was expected");
}

bool json_next_member(struct json *j, struct bytes *name) {
    if (!next(j, '}'))
        return false;
    *name = json_string(j);
    if (json_ok(j) && !take(j, ':'))
        json_fail(j, "a colon was expected");
    return json_ok(j);
}

void json_open_array(struct json *j) {
    open_bracket(j, '[', "an array was expected");
}

bool json_next_element(struct json *j) {
    return next(j, ']');
}

void json_end(struct json *j) {
    skip_space(j);
    if (j->at != j->end)
        json_fail(j, "something follows the end");
}

/* ---- numbers and words ---- */

static bool digit_at(const struct json *j) {
    return j->at < j->end && *j->at >= '0' && *j->at <= '9';
}

static void skip_digits(struct json *j) {
    if (!digit_at(j))
        json_fail(j, "a digit was expected");
    while (digit_at(j))
        j->at++;
}

uint64_t json_u64(struct json *j) {
    uint64_t value = 0;
    skip_space(j);
    uint8_t *from = j->at;
    while (digit_at(j)) {
        uint64_t digit = (uint64_t)(*j->at++ - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            json_fail(j, "a number is too large");
            return 0;
        }
        value = value * 10 + digit;
    }
    j->first = false;
    bool fraction = j->at < j->end && (*j->at == '.' || (*j->at | 0x20) == 'e');
    if (j->at == from || fraction || (*from == '0' && j->at - from > 1))
        json_fail(j, "a whole number was expected");
    return json_ok(j) ? value : 0;
}

static bool take_word(struct json *j, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(j->end - j->at) < size || memcmp(j->at, word, size) != 0)
        return false;
    j->at += size;
    return true;
}

bool json_bool(struct json *j) {
    skip_space(j);
    j->first = false;
    if (take_word(j, "true"))
        return true;
    if (!take_word(j, "false"))
        json_fail(j, "true or false was expected");
    return false;
}

static void skip_number(struct json *j) {
    if (j->at < j->end && *j->at == '-')
        j->at++;
    if (j->at < j->end && *j->at == '0')
        j->at++;
    else
        skip_digits(j);
    if (j->at < j->end && *j->at == '.') {
        j->at++;
        skip_digits(j);
    }
    if (j->at < j->end && (*j->at | 0x20) == 'e') {
        j->at++;
        if (j->at < j->end && (*j->at == '+' || *j->at == '-'))
            j->at++;
        skip_digits(j);
    }
}

static void skip_value(struct json *j, int depth);

static void skip_object(struct json *j, int depth) {
    struct bytes names[JSON_MEMBERS_MAX], name;
    size_t count = 0;
    for (json_open_object(j); json_next_member(j, &name);) {
        for (size_t i = 0; i < count; i++)
            if (bytes_equal(names[i], name))
                json_fail(j, "a name occurs twice in an object");
        if (count == JSON_MEMBERS_MAX)
            json_fail(j, "an object has too many names");
        else
            names[count++] = name;
        if (json_ok(j))
            skip_value(j, depth + 1);
    }
}

static void skip_array(struct json *j, int depth) {
    for (json_open_array(j); json_next_element(j);)
        skip_value(j, depth + 1);
}

static void skip_value(struct json *j, int depth) {
    if (depth > JSON_DEPTH_MAX) {
        json_fail(j, "it is nested too deeply");
        return;
    }
    uint8_t c = json_peek(j);
    if (c == '{')
        skip_object(j, depth);
    else if (c == '[')
        skip_array(j, depth);
    else if (c == '"')
        json_string(j);
    else if (c == '-' || (c >= '0' && c <= '9'))
        skip_number(j);
    else if (!take_word(j, "null") && !take_word(j, "true") && !take_word(j, "false"))
        json_fail(j, "a value was expected");
    j->first = false;
}

void json_skip(struct json *j) {
    skip_value(j, 1);
}

/* ---- POST /set ---- */

static void read_once(struct json *j, struct bytes *out, const char *twice) {
    if (out->data != NULL)
        json_fail(j, twice);
    else
        *out = json_string(j);
}

bool json_read_set(uint8_t *data, size_t size, struct json_set *out) {
    struct json j = json_of(data, size);
    struct bytes name;
    *out = (struct json_set){0};
    for (json_open_object(&j); json_next_member(&j, &name);) {
        if (name.size == 3 && memcmp(name.data, "key", 3) == 0) {
            read_once(&j, &out->key, "key occurs twice");
        } else if (name.size == 5 && memcmp(name.data, "value", 5) == 0) {
            read_once(&j, &out->value, "value occurs twice");
        } else {
            out->unknown = name;
            return false;
        }
    }
    json_end(&j);
    if (json_ok(&j) && (out->key.data == NULL || out->value.data == NULL))
        json_fail(&j, out->key.data == NULL ? "key is missing" : "value is missing");
    out->error = j.error;
    return json_ok(&j);
}
