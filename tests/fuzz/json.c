/* The JSON reader: what it takes, cJSON takes too and reads the same. */
#include "api/json_in.h"
#include "tests/fuzz/fuzz.h"

#include <cjson/cJSON.h>

/* cJSON takes numbers of at most 63 characters. */
static bool has_long_number(struct bytes text) {
    size_t run = 0;
    for (size_t i = 0; i < text.size; i++) {
        bool number = text.data[i] != '\0' && strchr("0123456789+-.eE", text.data[i]) != NULL;
        run = number ? run + 1 : 0;
        if (run > 60)
            return true;
    }
    return false;
}

/* cJSON's strings end at the first NUL. */
static void same_text(struct bytes ours, const cJSON *theirs) {
    MUST(cJSON_IsString(theirs));
    size_t size = strlen(theirs->valuestring);
    MUST(size <= ours.size && memcmp(ours.data, theirs->valuestring, size) == 0);
    MUST(size == ours.size || ours.data[size] == '\0');
    MUST(utf8_valid(ours) == ours.size);
}

static void set(struct bytes text) {
    uint8_t *copy = exact(text);
    struct json_set found;
    if (json_read_set(copy, text.size, &found)) {
        cJSON *tree = cJSON_ParseWithLengthOpts((const char *)text.data, text.size, NULL, 0);
        MUST(tree != NULL && cJSON_GetArraySize(tree) == 2);
        same_text(found.key, cJSON_GetObjectItemCaseSensitive(tree, "key"));
        same_text(found.value, cJSON_GetObjectItemCaseSensitive(tree, "value"));
        cJSON_Delete(tree);
    } else {
        MUST(found.error != NULL || found.unknown.data != NULL);
        touch(found.unknown);
    }
    free(copy);
}

static void any(struct bytes text) {
    uint8_t *copy = exact(text);
    struct json j = json_of(copy, text.size);
    json_skip(&j);
    json_end(&j);
    if (json_ok(&j) && !has_long_number(text)) {
        cJSON *tree = cJSON_ParseWithLengthOpts((const char *)text.data, text.size, NULL, 0);
        MUST(tree != NULL);
        cJSON_Delete(tree);
    }
    free(copy);
}

static void number(struct bytes text) {
    uint8_t *copy = exact(text);
    struct json j = json_of(copy, text.size);
    uint64_t value = json_u64(&j);
    json_end(&j);
    if (json_ok(&j) && value < UINT64_C(1) << 53) {
        cJSON *tree = cJSON_ParseWithLengthOpts((const char *)text.data, text.size, NULL, 0);
        MUST(tree != NULL && (uint64_t)tree->valuedouble == value);
        cJSON_Delete(tree);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes text = {data, size};
    set(text);
    any(text);
    number(text);
    return 0;
}
