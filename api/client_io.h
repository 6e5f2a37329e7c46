/* A blocking HTTP client for kvnode's own API: what kvctl and tests of real processes use.
 *
 * One connection, requests one after the other. Every wait has a limit. Nothing is ever sent again by itself.
 */
#ifndef API_CLIENT_IO_H
#define API_CLIENT_IO_H

#include "storage/buffer.h"

#define CLIENT_PORT          "9000"
#define CLIENT_WHY_MAX       256
#define CLIENT_HEAD_SIZE_MAX (64 * 1024)
#define CLIENT_BODY_SIZE_MAX (1024 * 1024 * 1024) /* bytes: a listing of millions of keys fits */

struct client;

struct client_answer {
    unsigned status;
    struct buffer body;
    bool sent;     /* the node may have got the request, even where no answer came */
    char etag[64]; /* without its quotes; empty: none */
};

/* server: host, host:port, [v6]:port. NULL with one line in why where it cannot be reached. */
struct client *client_open(const char *server, unsigned timeout_s, char why[CLIENT_WHY_MAX]);
/* headers: whole lines, each with its CRLF, or "". body.data NULL: none; else JSON. False with one line in
 * why where no whole answer came; the connection is then of no more use. The answer's body is the caller's to
 * release, in both cases. */
bool client_ask(struct client *c, const char *method, struct bytes target, const char *headers,
                struct bytes body, struct client_answer *out, char why[CLIENT_WHY_MAX]);
void client_close(struct client *c);

/* Appends text as a query wants it: %XX for all but letters, digits and -._~ */
void client_escape(struct buffer *out, struct bytes text);

#endif
