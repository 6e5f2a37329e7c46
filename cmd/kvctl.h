/* What kvctl's files share.
 *
 *   kvctl_io.c           words of the command line, help, commands
 *   kvctl_ask_io.c       one request to one of several servers
 *   kvctl_print_io.c     answers as text
 *   kvctl_rejected_io.c  the ledger of rejected writes
 *   kvctl_cluster_io.c   the members of a group
 *   kvctl_slots_io.c     which group owns which slots
 *   kvctl_directory_io.c a stopped node's data directory */
#ifndef CMD_KVCTL_H
#define CMD_KVCTL_H

#include "api/client_io.h"
#include "api/json_in.h"

#define SERVERS_MAX   16
#define ARGUMENTS_MAX 4

/* For scripts; --help lists them. */
enum exit_code {
    EXIT_DONE,
    EXIT_REFUSED,
    EXIT_USAGE,
    EXIT_UNREACHED,
    EXIT_NO_KEY,
    EXIT_CONDITION,
    EXIT_UNKNOWN,
};

struct options {
    const char *servers[SERVERS_MAX];
    int server_count;
    char server_text[1024]; /* holds them */
    bool json, help, version, linearizable, raw, if_absent, ready, watch, yes;
    const char *if_version, *ack, *lose_after;
    const char *arguments[ARGUMENTS_MAX];
    int count;
};

/* A request. Whoever makes it releases the buffers. */
struct question {
    const char *method;
    struct buffer target, body;
    char headers[128]; /* whole lines, or "" */
};

void question_release(struct question *q);

/* kvctl_ask_io.c */

/* Asks one server after the other until one answers: a read is asked again wherever it got no whole answer or
 * a 503, a write only where it surely was not sent. 0 with the last answer, of any status, which the caller
 * releases; else an exit code, after a line to standard error. */
int ask(const struct options *o, const struct question *q, struct client_answer *answer);
/* The same, and the answer has to be 200: else it is printed as a refusal. */
int ask_for(const struct options *o, const struct question *q, struct client_answer *answer);

/* kvctl_print_io.c: each takes the body of a 200, and returns an exit code. */
int print_refusal(struct client_answer *answer);
int print_value(const struct options *o, struct json *j);
int print_ok(const struct options *o, struct json *j);
int print_keys(const struct options *o, struct json *j);
int print_nodes(const struct options *o, struct json *j);
int print_health(const struct options *o, struct json *j);
int print_level(const struct options *o, struct json *j);
void print_bytes(struct bytes bytes);
/* Of a reader that ended: EXIT_DONE, or a line to standard error. */
int finish(const struct json *j);
/* Of every server: how it is; then the nodes that one of them knows. */
int show_status(const struct options *o);

/* kvctl_rejected_io.c */
int rejected_list(const struct options *o);
int rejected_apply(const struct options *o);
int rejected_drop(const struct options *o);

/* kvctl_cluster_io.c */
int print_members(const struct options *o, struct json *j);
int cluster_join(const struct options *o);
int cluster_leave(const struct options *o);
int cluster_transfer(const struct options *o);

/* kvctl_slots_io.c */
int print_slots(const struct options *o, struct json *j);

/* kvctl_directory_io.c: asks no server */
int directory_check(const struct options *o);
int directory_mend(const struct options *o);

/* kvctl_io.c */
/* Asks, and prints the answer's JSON or what `print` makes of it. */
int ask_and_print(const struct options *o, const struct question *q,
                  int (*print)(const struct options *o, struct json *j));
int usage(const char *problem, const char *what);
struct json answer_json_of(struct client_answer *answer);
/* {"key":K,"value":V} */
void append_set_body(struct buffer *out, struct bytes key, struct bytes value);

#endif
