#include "api/access.h"

#include "cluster/address.h"

/* Host's name without its port; empty where it is malformed. */
static struct bytes name_of(struct bytes host) {
    const struct bytes none = {NULL, 0};
    bool literal = host.size > 0 && host.data[0] == '[';
    const uint8_t *end = host.data + host.size, *stop = host.data;
    if (literal) {
        stop = memchr(host.data, ']', host.size);
        if (stop == NULL)
            return none;
        stop++;
    } else {
        while (stop < end && *stop != ':')
            stop++;
    }
    if (stop < end && (*stop != ':' || end - stop > 6))
        return none;
    for (const uint8_t *c = stop; c < end; c++)
        if (c > stop && (*c < '0' || *c > '9'))
            return none;
    return (struct bytes){host.data, (size_t)(stop - host.data)};
}

static bool is_ip(struct bytes name) {
    struct address address;
    char text[64];
    bool literal = name.size > 2 && name.data[0] == '[';
    struct bytes ip = literal ? (struct bytes){name.data + 1, name.size - 2} : name;
    if (ip.size == 0 || ip.size >= sizeof text || memchr(ip.data, '\0', ip.size) != NULL)
        return false;
    if (literal != (memchr(ip.data, ':', ip.size) != NULL))
        return false;
    memcpy(text, ip.data, ip.size);
    text[ip.size] = '\0';
    return address_parse_ip(text, 1, &address);
}

bool access_host(struct bytes host, const char *const *names) {
    struct bytes name = name_of(host);
    if (name.size == 0)
        return false;
    if (http_text_is(name, "localhost") || is_ip(name))
        return true;
    for (; names != NULL && *names != NULL; names++)
        if (http_text_is(name, *names))
            return true;
    return false;
}

static bool same_ignoring_case(struct bytes a, struct bytes b) {
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++) {
        uint8_t x = a.data[i], y = b.data[i];
        x = x >= 'A' && x <= 'Z' ? x | 0x20 : x;
        y = y >= 'A' && y <= 'Z' ? y | 0x20 : y;
        if (x != y)
            return false;
    }
    return true;
}

bool access_origin(struct bytes origin, struct bytes host) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < 2; i++) {
        size_t size = strlen(schemes[i]);
        if (origin.size > size && http_text_is((struct bytes){origin.data, size}, schemes[i]))
            return same_ignoring_case((struct bytes){origin.data + size, origin.size - size}, host);
    }
    return false;
}

bool access_json(struct bytes content_type) {
    static const char json[] = "application/json";
    size_t size = sizeof json - 1;
    if (content_type.size < size || !http_text_is((struct bytes){content_type.data, size}, json))
        return false;
    while (size < content_type.size && (content_type.data[size] == ' ' || content_type.data[size] == '\t'))
        size++;
    return size == content_type.size || content_type.data[size] == ';';
}
