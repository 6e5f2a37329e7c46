#include "cluster/address.h"

#include <arpa/inet.h>
#include <stdio.h>

static size_t ip_size(uint8_t family) {
    return family == 4 ? 4 : family == 6 ? 16 : 0;
}

bool address_same_ip(const struct address *a, const struct address *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, ip_size(a->family)) == 0;
}

bool address_equal(const struct address *a, const struct address *b) {
    return a->port == b->port && address_same_ip(a, b);
}

bool address_parse_ip(const char *text, uint16_t port, struct address *out) {
    struct address parsed = {.port = port};
    if (inet_pton(AF_INET, text, parsed.ip) == 1)
        parsed.family = 4;
    else if (inet_pton(AF_INET6, text, parsed.ip) == 1)
        parsed.family = 6;
    else
        return false;
    *out = parsed;
    return true;
}

/* 1 to 65535 in digits alone; 0 for anything else. */
static uint16_t parse_port(const char *text) {
    unsigned port = 0;
    if (*text == '\0' || *text == '0')
        return 0;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return 0;
        port = port * 10 + (unsigned)(*text - '0');
        if (port > UINT16_MAX)
            return 0;
    }
    return (uint16_t)port;
}

bool address_parse(const char *text, struct address *out) {
    const char *colon = strrchr(text, ':'), *ip = text, *end = colon;
    if (colon == NULL)
        return false;
    bool bracketed = text[0] == '[';
    if (bracketed) {
        if (colon < text + 2 || colon[-1] != ']')
            return false;
        ip = text + 1;
        end = colon - 1;
    }
    char literal[INET6_ADDRSTRLEN];
    size_t size = (size_t)(end - ip);
    if (size >= sizeof literal)
        return false;
    memcpy(literal, ip, size);
    literal[size] = '\0';
    uint16_t port = parse_port(colon + 1);
    struct address parsed;
    if (port == 0 || !address_parse_ip(literal, port, &parsed) || (parsed.family == 6) != bracketed)
        return false;
    *out = parsed;
    return true;
}

const char *address_ip_text(const struct address *address, char out[ADDRESS_TEXT_MAX]) {
    if (address->family == 0)
        snprintf(out, ADDRESS_TEXT_MAX, "none");
    else
        inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->ip, out, ADDRESS_TEXT_MAX);
    return out;
}

const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]) {
    char ip[ADDRESS_TEXT_MAX];
    address_ip_text(address, ip);
    if (address->family == 0)
        memcpy(out, ip, sizeof "none");
    else
        snprintf(out, ADDRESS_TEXT_MAX, address->family == 6 ? "[%.46s]:%u" : "%.46s:%u", ip,
                 (unsigned)address->port);
    return out;
}

bool address_is_loopback(const struct address *address) {
    static const uint8_t one[16] = {[15] = 1};
    if (address->family == 4)
        return address->ip[0] == 127;
    return address->family == 6 && memcmp(address->ip, one, sizeof one) == 0;
}

bool address_is_wildcard(const struct address *address) {
    static const uint8_t zero[16];
    return address->family != 0 && memcmp(address->ip, zero, ip_size(address->family)) == 0;
}

void address_write(struct buffer *out, const struct address *address) {
    write_u8(out, address->family);
    if (address->family == 0)
        return;
    buffer_append(out, (struct bytes){address->ip, ip_size(address->family)});
    write_u16(out, address->port);
}

struct address address_read(struct reader *r) {
    struct address address = {.family = read_u8(r)};
    size_t size = ip_size(address.family);
    if (address.family == 0)
        return address;
    struct bytes ip = read_bytes(r, size);
    address.port = read_u16(r);
    if (size == 0)
        r->failed = true;
    if (r->failed)
        return (struct address){0};
    memcpy(address.ip, ip.data, size);
    return address;
}
