#include "api/routes_cluster.h"

#include "api/json_in.h"
#include "cluster/node_info.h"

static void read_once(struct json *j, struct bytes *out, const char *twice) {
    if (out->data != NULL)
        json_fail(j, twice);
    else
        *out = json_string(j);
}

static bool address_valid(struct bytes text) {
    char copy[ADDRESS_TEXT_MAX] = "";
    struct address address;
    if (text.size == 0 || text.size >= sizeof copy || memchr(text.data, '\0', text.size) != NULL)
        return false;
    memcpy(copy, text.data, text.size);
    return address_parse(copy, &address);
}

bool cluster_body_read(uint8_t *data, size_t size, enum operation operation, struct request *out,
                       struct refusal *why) {
    struct json j = json_of(data, size);
    struct bytes name, id = {0}, address = {0};
    bool joins = operation == OPERATION_JOIN;
    for (json_open_object(&j); json_next_member(&j, &name);) {
        if (bytes_equal(name, bytes_of("id")))
            read_once(&j, &id, "id occurs twice");
        else if (joins && bytes_equal(name, bytes_of("address")))
            read_once(&j, &address, "address occurs twice");
        else
            return refuse_naming(why, ERROR_BAD_JSON, "The route does not know the field", name);
    }
    json_end(&j);
    if (!json_ok(&j))
        return refuse(why, ERROR_BAD_JSON, "The body is not the JSON that is wanted: %s.", j.error);
    if (!node_id_valid(id))
        return refuse(why, ERROR_BAD_JSON, "The body requires an id of 16 letters, digits, - or _.");
    if (joins && !address_valid(address))
        return refuse(why, ERROR_BAD_JSON,
                      "The body requires an address: IP and cluster port, such as 127.0.0.1:8001.");
    out->operation = operation;
    out->key = id;
    out->value = address;
    return true;
}

/* Digits from *at up to `stop`, or to the end where that is 0. */
static bool number_until(struct bytes *at, char stop, uint64_t max, uint64_t *out) {
    size_t size = 0;
    *out = 0;
    for (; size < at->size && at->data[size] >= '0' && at->data[size] <= '9'; size++) {
        uint64_t digit = (uint64_t)(at->data[size] - '0');
        if (*out > (max - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    bool stopped = stop == '\0' ? size == at->size : size < at->size && at->data[size] == (uint8_t)stop;
    if (size == 0 || !stopped)
        return false;
    size += stop != '\0';
    *at = (struct bytes){at->data + size, at->size - size};
    return true;
}

bool after_parse(const struct http_head *head, const uint8_t *base, struct request *out,
                 struct refusal *why) {
    if (!http_has(head, HTTP_KV_AFTER))
        return true;
    struct bytes text = http_text(head->field[HTTP_KV_AFTER], base);
    uint64_t group;
    if (!number_until(&text, ':', UINT32_MAX, &group) ||
        !number_until(&text, '.', UINT64_MAX, &out->after.at.term) ||
        !number_until(&text, '\0', UINT64_MAX, &out->after.at.index) || out->after.at.index == 0)
        return refuse(why, ERROR_BAD_PARAMETER,
                      "KV-After takes what a write's KV-Position said: <group>:<term>.<index>.");
    out->after.group = (uint32_t)group;
    return true;
}
