/* Every error a client can get: one table of names, HTTP statuses and what to do about it.
 *
 * The shape is {"error":NAME,"message":what happened,"fix":what to do}. */
#ifndef API_ERROR_H
#define API_ERROR_H

#include "storage/bytes.h"

enum error {
    ERROR_NONE,
    ERROR_BAD_REQUEST,       /* 400 malformed HTTP; closes the connection */
    ERROR_BAD_JSON,          /* 400 */
    ERROR_BAD_PARAMETER,     /* 400 */
    ERROR_BAD_KEY,           /* 400 empty or too long */
    ERROR_WEAKER_ACK,        /* 400 */
    ERROR_FORBIDDEN_HOST,    /* 403 */
    ERROR_FORBIDDEN_ORIGIN,  /* 403 */
    ERROR_NOT_FOUND,         /* 404 no such key */
    ERROR_NO_ROUTE,          /* 404 */
    ERROR_METHOD,            /* 405 with Allow */
    ERROR_TIMEOUT,           /* 408 slow client; closes */
    ERROR_CONFLICT,          /* 409 */
    ERROR_REQUEST_REUSED,    /* 409 the same KV-Client and KV-Request with another write */
    ERROR_PRECONDITION,      /* 412 with the current ETag */
    ERROR_TOO_LARGE,         /* 413 body or value */
    ERROR_NOT_JSON,          /* 415 */
    ERROR_EXPECTATION,       /* 417 */
    ERROR_WRONG_NODE,        /* 421 */
    ERROR_HEADERS_TOO_LARGE, /* 431 */
    ERROR_OVERLOAD,          /* 503 with Retry-After: surely not appended */
    ERROR_NO_LEADER,         /* 503 with Retry-After: surely not appended */
    ERROR_GROUP_UNREACHABLE, /* 503 with Retry-After: surely not appended; the message names the group */
    ERROR_NO_MAJORITY,       /* 503: a read or a write that needs one */
    ERROR_SHUTTING_DOWN,     /* 503: surely not appended */
    ERROR_NOT_LEADER,        /* between nodes: surely not appended, may be passed on again */
    ERROR_OUTCOME_UNKNOWN,   /* 504: a write was, or may have been, appended, or a row dropped */
    ERROR_DEADLINE,          /* 504: a read; or a write that was surely not appended */
    ERROR_NOT_BUILT,         /* 501, naming the flag, header or field */
    ERROR_HTTP_VERSION,      /* 505 */
    ERROR_DISK_FULL,         /* 507 */
    ERROR_NOT_READY,         /* 503 of GET /health?ready=1 */
    ERROR_NO_MEMBER,         /* 404 the group has no member of that id */
    ERROR_MEMBER_REFUSED,    /* 409 a change of the members that is not made, and why */
    ERROR_OVERRULED,         /* 409 KV-After: another entry stands there */
    ERROR_REMOVED,           /* 503 this node is a former member: it serves nothing */
    ERROR_UNREACHABLE,       /* 503 nobody answers at the address */
    ERROR_REDIRECT,          /* 307 with Location: -route redirect */
    ERROR_NOT_MODIFIED,      /* 304 If-None-Match of a read: no error, but no value either */
    ERROR_DIVERGED,          /* 503 this node's state differs from the majority's: it serves nothing */
    ERROR_COUNT,
};

struct error_row {
    const char *name;    /* "not_found" */
    uint16_t status;     /* HTTP */
    const char *message; /* what happened, where the reply has no message of its own */
    const char *fix;     /* what to do, likewise: one sentence */
};

/* NULL for a number outside the enum (foreign bytes). */
const struct error_row *error_row(unsigned error);
/* It may pass by itself: 503 with Retry-After. A write that is answered so has surely not happened. */
bool error_passes(enum error error);

#endif
