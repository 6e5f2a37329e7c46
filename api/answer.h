/* HTTP answers, printed straight into a buffer: status line, headers, body. */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/request.h"

#define UNLESS_VERSIONS_MAX 2

/* If-None-Match of a read. */
struct unless {
    bool any;       /* * */
    unsigned count; /* of versions; tags that no key ever bears, and those beyond the room, are left out */
    struct version versions[UNLESS_VERSIONS_MAX];
};

/* How the request asked to be answered. */
struct manner {
    bool head_only; /* HEAD: the headers of the answer to GET */
    bool close;     /* the connection ends behind this answer */
    bool old;       /* HTTP/1.0: says keep-alive, has no chunks */
    bool plain;     /* the body is text, not JSON */
    bool writes;    /* a refusal says whether something may have been written */
    struct unless unless;
};

/* Who speaks where a reply names no node. */
struct speaker {
    const uint8_t *node; /* NODE_ID_SIZE */
    uint32_t group;
};

/* {"key":K,"value":V}; ERROR_CONFLICT where key or value is not UTF-8. */
void answer_get(struct buffer *out, struct manner manner, const struct speaker *speaker,
                const struct reply *reply, struct bytes key);
/* 304: the headers of answer_get, and no body. */
void answer_unchanged(struct buffer *out, struct manner manner, const struct speaker *speaker,
                      const struct reply *reply);
/* {"status":"ok","key":K} */
void answer_done(struct buffer *out, struct manner manner, const struct speaker *speaker,
                 const struct reply *reply, struct bytes key);
/* {"outcome":"committed","position":"<group>:<term>.<index>","result":"ok"}; of a pending one without the
 * result, of an unknown one without a position. */
void answer_outcome(struct buffer *out, struct manner manner, const struct speaker *speaker,
                    const struct reply *reply);
/* {"error":...,"message":...,"fix":...}. allow: the value of Allow, or NULL. */
void answer_error(struct buffer *out, struct manner manner, const struct speaker *speaker,
                  const struct reply *reply, const char *allow);
/* ERROR_REDIRECT, with the Location http://<authority><target>. */
void answer_redirect(struct buffer *out, struct manner manner, const struct speaker *speaker,
                     const struct reply *reply, const char *authority, struct bytes target);
/* 200 with this JSON, or plain text. */
void answer_json(struct buffer *out, struct manner manner, const struct speaker *speaker,
                 const struct reply *reply, struct bytes body);
/* The head of an answer whose body follows in chunks (HTTP/1.0: until the connection's end). */
void answer_stream(struct buffer *out, struct manner manner, const struct speaker *speaker,
                   const struct reply *reply);

#endif
