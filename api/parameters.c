#include "api/parameters.h"

#include <stdarg.h>
#include <stdio.h>

/* In the order of enum parameter; behind them those that are known but not built. */
static const char *const names[] = {"key",     "prefix", "after",   "limit", "ack", "consistency",
                                    "explain", "client", "request", "ready", "ttl"};

bool refuse(struct refusal *why, enum error error, const char *format, ...) {
    va_list arguments;
    why->error = error;
    why->fix = NULL;
    va_start(arguments, format);
    vsnprintf(why->message, sizeof why->message, format, arguments);
    va_end(arguments);
    return false;
}

bool refuse_naming(struct refusal *why, enum error error, const char *text, struct bytes name) {
    bool cut = name.size > 64;
    return refuse(why, error, "%s `%.*s%s`.", text, cut ? 64 : (int)name.size, (const char *)name.data,
                  cut ? "..." : "");
}

static size_t find_name(struct bytes name) {
    size_t i = 0;
    while (i < sizeof names / sizeof names[0] && !bytes_equal(bytes_of(names[i]), name))
        i++;
    return i;
}

static bool keep(struct parameters *out, struct bytes name, struct bytes value, uint32_t allowed,
                 struct refusal *why) {
    size_t which = find_name(name);
    if (which >= PARAMETER_COUNT && which < sizeof names / sizeof names[0])
        return refuse_naming(why, ERROR_NOT_BUILT, "This version does not have the parameter", name);
    if (which >= PARAMETER_COUNT || (allowed & 1u << which) == 0)
        return refuse_naming(why, ERROR_BAD_PARAMETER, "The route does not know the parameter", name);
    if (parameter_has(out, (enum parameter)which))
        return refuse_naming(why, ERROR_BAD_PARAMETER, "There is more than one parameter", name);
    out->present |= 1u << which;
    out->value[which] = value;
    return true;
}

/* One name=value; without = the value is empty. */
static bool parse_pair(struct parameters *out, uint8_t *pair, size_t size, uint32_t allowed,
                       struct refusal *why) {
    uint8_t *equals = memchr(pair, '=', size);
    size_t name_size = equals != NULL ? (size_t)(equals - pair) : size;
    uint8_t *value = equals != NULL ? equals + 1 : pair + size;
    size_t value_size = (size_t)(pair + size - value);
    if (!http_unescape(pair, &name_size) || !http_unescape(value, &value_size))
        return refuse(why, ERROR_BAD_PARAMETER,
                      "The query holds a %% that two hexadecimal digits do not follow.");
    return keep(out, (struct bytes){pair, name_size}, (struct bytes){value, value_size}, allowed, why);
}

bool parameters_parse(struct parameters *out, uint8_t *query, size_t size, uint32_t allowed,
                      struct refusal *why) {
    out->present = 0;
    for (uint8_t *at = query, *end = query + size; at < end;) {
        uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        if (!parse_pair(out, at, (size_t)(stop - at), allowed, why))
            return false;
        at = stop + 1;
    }
    return true;
}

static bool number(struct bytes text, uint64_t *out) {
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return text.size > 0;
}

bool parameter_number(struct bytes text, uint64_t max, uint64_t *out) {
    return number(text, out) && *out >= 1 && *out <= max;
}

bool parameter_ack(struct bytes text, enum ack_mode *out) {
    static const char *const modes[] = {[ACK_ASYNC] = "async", [ACK_QUORUM] = "quorum", [ACK_ALL] = "all"};
    for (unsigned i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (bytes_equal(text, bytes_of(modes[i]))) {
            *out = (enum ack_mode)i;
            return true;
        }
    }
    return false;
}

static bool parse_version(struct bytes text, struct version *out) {
    const uint8_t *at = text.data, *end = text.data + text.size, *dot = memchr(at, '.', text.size);
    return dot != NULL && number((struct bytes){at, (size_t)(dot - at)}, &out->term) &&
           number((struct bytes){dot + 1, (size_t)(end - dot - 1)}, &out->index) && out->index != 0;
}

bool pair_name_valid(struct bytes name) {
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] <= ' ' || name.data[i] > '~')
            return false;
    return name.size >= 1 && name.size <= CLIENT_SIZE_MAX;
}

bool pair_parse(const struct http_head *head, const uint8_t *base, struct request *out, struct refusal *why) {
    if (http_has(head, HTTP_KV_CLIENT) != http_has(head, HTTP_KV_REQUEST))
        return refuse(why, ERROR_BAD_PARAMETER,
                      "KV-Client and KV-Request stand together, and one of them is missing.");
    if (!http_has(head, HTTP_KV_CLIENT))
        return true;
    out->client = http_text(head->field[HTTP_KV_CLIENT], base);
    out->request = http_text(head->field[HTTP_KV_REQUEST], base);
    if (!pair_name_valid(out->client) || !pair_name_valid(out->request))
        return refuse(why, ERROR_BAD_PARAMETER,
                      "KV-Client and KV-Request have 1 to 64 visible ASCII characters each.");
    return true;
}

/* "<term>.<index>" with its quotes. */
static bool parse_etag(struct bytes text, struct version *out) {
    if (text.size < 5 || text.data[0] != '"' || text.data[text.size - 1] != '"')
        return false;
    return parse_version((struct bytes){text.data + 1, text.size - 2}, out);
}

bool parameter_position(struct bytes text, struct position *out) {
    const uint8_t *colon = text.size == 0 ? NULL : memchr(text.data, ':', text.size);
    uint64_t group;
    if (colon == NULL || !number((struct bytes){text.data, (size_t)(colon - text.data)}, &group) ||
        group > UINT32_MAX)
        return false;
    out->group = (uint32_t)group;
    return parse_version((struct bytes){colon + 1, (size_t)(text.data + text.size - colon - 1)}, &out->at);
}

/* One ETag at the start of *text, with W/ or without, which is taken off; its quotes stay. A weak one is
 * compared as any other (RFC 9110, section 8.8.3.2). */
static bool next_etag(struct bytes *text, struct bytes *tag) {
    const uint8_t *at = text->data, *end = at + text->size;
    if (text->size >= 2 && at[0] == 'W' && at[1] == '/')
        at += 2;
    const uint8_t *close = end - at >= 2 && at[0] == '"' ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
    if (close == NULL)
        return false;
    *tag = (struct bytes){at, (size_t)(close + 1 - at)};
    *text = (struct bytes){close + 1, (size_t)(end - close - 1)};
    return true;
}

static void skip_blanks(struct bytes *text) {
    while (text->size > 0 && (text->data[0] == ' ' || text->data[0] == '\t'))
        *text = (struct bytes){text->data + 1, text->size - 1};
}

/* A list as RFC 9110, section 5.6.1 has it: elements may be empty, but not all. A tag of a foreign form is
 * well-formed too: it came from elsewhere, and matches nothing here. */
static bool parse_etags(struct bytes text, struct unless *out) {
    struct bytes tag;
    bool found = false;
    for (;;) {
        struct version version;
        skip_blanks(&text);
        if (text.size > 0 && text.data[0] != ',') {
            if (!next_etag(&text, &tag))
                return false;
            found = true;
            if (out->count < UNLESS_VERSIONS_MAX && parse_etag(tag, &version))
                out->versions[out->count++] = version;
            skip_blanks(&text);
        }
        if (text.size == 0)
            return found;
        if (text.data[0] != ',')
            return false;
        text = (struct bytes){text.data + 1, text.size - 1};
    }
}

bool unless_parse(const struct http_head *head, const uint8_t *base, struct unless *out,
                  struct refusal *why) {
    struct bytes text = http_text(head->field[HTTP_IF_NONE_MATCH], base);
    out->count = 0;
    out->any = http_has(head, HTTP_IF_NONE_MATCH) && text.size == 1 && text.data[0] == '*';
    return out->any || !http_has(head, HTTP_IF_NONE_MATCH) || parse_etags(text, out) ||
           refuse(why, ERROR_BAD_PARAMETER, "If-None-Match of a read takes ETags with commas between, or *.");
}

bool condition_parse(const struct http_head *head, const uint8_t *base, struct request *out,
                     struct refusal *why) {
    struct bytes match = http_text(head->field[HTTP_IF_MATCH], base);
    struct bytes none = http_text(head->field[HTTP_IF_NONE_MATCH], base);
    bool star = match.size == 1 && match.data[0] == '*';
    if (http_has(head, HTTP_IF_MATCH) && http_has(head, HTTP_IF_NONE_MATCH))
        return refuse(why, ERROR_BAD_PARAMETER, "If-Match and If-None-Match stand together.");
    if (http_has(head, HTTP_IF_NONE_MATCH)) {
        if (none.size != 1 || none.data[0] != '*')
            return refuse(why, ERROR_BAD_PARAMETER, "If-None-Match takes * only.");
        out->condition = CONDITION_ABSENT;
    } else if (star) {
        out->condition = CONDITION_EXISTS;
    } else if (http_has(head, HTTP_IF_MATCH)) {
        if (!parse_etag(match, &out->match))
            return refuse(why, ERROR_BAD_PARAMETER, "If-Match takes one ETag, \"<term>.<index>\", or *.");
        out->condition = CONDITION_MATCH;
    }
    return true;
}
