/* What a request says beside its body: the query's parameters and the conditions in its headers.
 *
 * In a query %XX is a byte and + is a space, as HTML forms and `curl --data-urlencode` write them. A name may
 * stand once, and only where its route knows it. */
#ifndef API_PARAMETERS_H
#define API_PARAMETERS_H

#include "api/answer.h"
#include "api/http.h"
#include "api/request.h"

enum parameter {
    PARAMETER_KEY,
    PARAMETER_PREFIX,
    PARAMETER_AFTER,
    PARAMETER_LIMIT,
    PARAMETER_ACK,
    PARAMETER_CONSISTENCY,
    PARAMETER_EXPLAIN,
    PARAMETER_CLIENT,
    PARAMETER_REQUEST,
    PARAMETER_READY,
    PARAMETER_COUNT,
};

#define REFUSAL_TEXT_MAX 240

/* Why a request is not taken. */
struct refusal {
    enum error error;
    char message[REFUSAL_TEXT_MAX];
    const char *fix; /* NULL: the error's; to be set behind refuse() */
};

/* Always false, so that a check can end with it. */
bool refuse(struct refusal *why, enum error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, with foreign bytes behind the text: cut to 64, quoted. */
bool refuse_naming(struct refusal *why, enum error error, const char *text, struct bytes name);

struct parameters {
    uint32_t present;                    /* bit 1 << enum parameter */
    struct bytes value[PARAMETER_COUNT]; /* of those present */
};

static inline bool parameter_has(const struct parameters *p, enum parameter which) {
    return (p->present & 1u << which) != 0;
}

/* Unescapes the query in place. allowed: bits of the parameters that the route knows. */
bool parameters_parse(struct parameters *out, uint8_t *query, size_t size, uint32_t allowed,
                      struct refusal *why);

/* <group>:<term>.<index> */
bool parameter_position(struct bytes text, struct position *out);
/* A whole number from 1 to max. */
bool parameter_number(struct bytes text, uint64_t max, uint64_t *out);
bool parameter_ack(struct bytes text, enum ack_mode *out);

/* KV-Client and KV-Request of a write: both or none. */
bool pair_parse(const struct http_head *head, const uint8_t *base, struct request *out, struct refusal *why);
/* Of a client's or a request's name: 1 to 64 visible ASCII characters. */
bool pair_name_valid(struct bytes name);

/* If-None-Match of a read: ETags, weak ones too, or *. */
bool unless_parse(const struct http_head *head, const uint8_t *base, struct unless *out, struct refusal *why);
/* If-Match and If-None-Match of a write. */
bool condition_parse(const struct http_head *head, const uint8_t *base, struct request *out,
                     struct refusal *why);

#endif
