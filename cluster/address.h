/* An IPv4 or IPv6 address and a port, and its text: "127.0.0.1:8000", "[::1]:8000".
 *
 * Only numbers: names are resolved in a shell before they get here. */
#ifndef CLUSTER_ADDRESS_H
#define CLUSTER_ADDRESS_H

#include "storage/wire.h"

#define ADDRESS_TEXT_MAX 56 /* bytes, with the NUL */

struct address {
    uint8_t family; /* 0 none, 4, 6 */
    uint8_t ip[16]; /* the first 4 for family 4; network order */
    uint16_t port;  /* host order */
};

bool address_equal(const struct address *a, const struct address *b);
bool address_same_ip(const struct address *a, const struct address *b);
/* False where the text is no address with a port from 1 to 65535. */
bool address_parse(const char *text, struct address *out);
/* An IP literal without a port. */
bool address_parse_ip(const char *text, uint16_t port, struct address *out);
const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);
const char *address_ip_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);
bool address_is_loopback(const struct address *address);
bool address_is_wildcard(const struct address *address);

void address_write(struct buffer *out, const struct address *address);
struct address address_read(struct reader *r);

#endif
