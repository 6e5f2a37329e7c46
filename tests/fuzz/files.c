/* The files that are read whole, forged: snapshot, rejected-write ledger, hard_state, identity. Loading
 * answers, whatever the bytes are; what was loaded is consistent and is the same the next time. */
#include "replication/ledger.h"
#include "storage/hard_state.h"
#include "storage/identity.h"
#include "storage/record.h"
#include "storage/snapshot.h"
#include "tests/fuzz/fuzz.h"

static void save(struct file_system *fs, const char *name, struct bytes content) {
    struct file *file;
    MUST(file_open(fs, name, true, &file) == FILE_OK);
    MUST(file_truncate(file, 0) == FILE_OK && file_write(file, 0, content) == FILE_OK);
    file_close(file);
}

static void overwrite(struct script *s, struct buffer *content) {
    while (script_left(s) > 0 && buffer_size(content) > 0) {
        size_t at = take_u16(s) % buffer_size(content);
        struct bytes by = take_sized(s);
        if (by.size == 0) {
            content->end = content->start + at; /* cut short */
            continue;
        }
        size_t fits = buffer_size(content) - at;
        memcpy(content->data + content->start + at, by.data, by.size < fits ? by.size : fits);
    }
}

static void write_snapshot(struct script *s, struct buffer *out) {
    struct store *store = store_new(0);
    struct version at = {1, 0};
    uint8_t key[4] = "key", value[300] = "value";
    for (unsigned count = take_u8(s) % 16; count > 0; count--) {
        key[2] = take_u8(s);
        uint8_t size = take_u8(s);
        struct entry entry = {.key = {key, 1 + key[2] % 3u}, .value = {value, size}};
        if (size % 8 == 1)
            entry.expiry_ms = size;
        if (size % 8 == 2)
            entry.clock = (struct bytes){value, 4};
        at.index++;
        store_apply(store, at, ENTRY_PUT, &entry, false);
    }
    struct snapshot_header header = {.at = at.index == 0 ? (struct version){0, 0} : at,
                                     .count = store_count(store),
                                     .configuration = bytes_of("configuration"),
                                     .configuration_index = at.index};
    struct snapshot_writer *writer = snapshot_writer_new(store, &header);
    while (!snapshot_writer_step(writer, 4096, out))
        continue;
    snapshot_writer_free(writer);
    store_free(store);
}

struct check {
    struct bytes before;
    uint64_t count, index_max;
    uint8_t room[KEY_SIZE_MAX];
};

static bool ordered(void *arg, const struct store_record *record) {
    struct check *check = arg;
    MUST(record->key.size >= 1 && record->key.size <= KEY_SIZE_MAX && record->value.size <= VALUE_SIZE_MAX);
    MUST(check->count == 0 || bytes_compare(check->before, record->key) < 0);
    MUST(store_record_order(record) <= check->index_max);
    memcpy(check->room, record->key.data, record->key.size);
    check->before = (struct bytes){check->room, record->key.size};
    check->count++;
    touch(record->value);
    touch(record->clock);
    return true;
}

static void snapshot(struct script *s, bool made) {
    struct buffer content = {0}, configuration = {0}, again = {0};
    struct snapshot_header header, verified;
    char why[200] = "";
    struct file_system *fs = file_system_memory_new();
    struct store *store = store_new(0);
    if (made) {
        write_snapshot(s, &content);
        overwrite(s, &content);
    } else {
        buffer_append(&content, take_bytes(s, SIZE_MAX));
    }
    save(fs, "snapshot", buffer_bytes(&content));
    enum snapshot_result result =
        snapshot_load(fs, "snapshot", store, &header, &configuration, why, sizeof why);
    enum snapshot_result verdict = snapshot_verify(fs, "snapshot", &verified, &again, why, sizeof why);
    /* Only loading sees that a key comes twice and not alike. */
    MUST(result == verdict || (verdict == SNAPSHOT_OK && result == SNAPSHOT_CORRUPT));
    if (result == SNAPSHOT_OK) {
        struct check check = {.index_max = header.at.index};
        MUST(version_equal(header.at, verified.at) &&
             bytes_equal(header.configuration, verified.configuration));
        store_scan(store, (struct bytes){NULL, 0}, ordered, &check);
        MUST(check.count == store_count(store) && version_equal(store_applied(store), header.at));
    } else {
        MUST(store_count(store) == 0 && strlen(why) > 0);
    }
    store_free(store);
    file_system_free(fs);
    buffer_release(&content);
    buffer_release(&configuration);
    buffer_release(&again);
}

static void make_ledger(struct script *s, struct file_system *fs) {
    struct ledger *l;
    char why[200];
    MUST(ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK);
    for (unsigned steps = take_u8(s) % 16; steps > 0; steps--) {
        uint8_t step = take_u8(s);
        struct ledger_row row = {.group_id = 7,
                                 .at = {1 + step % 3, 1 + step % 5},
                                 .by_term = 5,
                                 .answered = step & 16,
                                 .state = LEDGER_OVERRULED,
                                 .type = step & 32 ? ENTRY_PUT : ENTRY_DELETE,
                                 .payload = take_sized(s)};
        if (step & 64)
            MUST(ledger_settle(l, 7, row.at) == FILE_OK);
        else
            MUST(ledger_add(l, &row) == FILE_OK);
    }
    MUST(ledger_sync(l) == FILE_OK);
    ledger_close(l);
}

static void read_rows(struct ledger *l) {
    for (size_t i = 0; i < ledger_count(l); i++) {
        struct buffer payload = {0};
        const struct ledger_row *row = ledger_at(l, i);
        MUST(row->state == LEDGER_OVERRULED || row->state == LEDGER_REJECTED);
        size_t position = 0;
        MUST(ledger_unsettled(l, row->group_id, &position) <= row->at.index || row->state == LEDGER_REJECTED);
        enum file_result result = ledger_read(l, i, &payload);
        MUST(result == FILE_OK || result == FILE_IO_ERROR);
        buffer_release(&payload);
    }
}

static void ledger(struct script *s) {
    struct file_system *fs = file_system_memory_new();
    struct buffer content = {0};
    struct ledger *l;
    char why[200] = "";
    make_ledger(s, fs);
    file_read_all(fs, "rejected", 1 << 20, &content);
    if (take_u8(s) % 2 == 0) {
        overwrite(s, &content);
    } else {
        buffer_clear(&content);
        buffer_append(&content, take_bytes(s, SIZE_MAX));
    }
    save(fs, "rejected", buffer_bytes(&content));
    if (ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK) {
        read_rows(l);
        struct ledger_row row = {.group_id = 9, .at = {3, 4}, .state = LEDGER_OVERRULED, .type = ENTRY_PUT};
        MUST(ledger_add(l, &row) == FILE_OK && ledger_sync(l) == FILE_OK);
        MUST(ledger_settle(l, 7, (struct version){2, 3}) == FILE_OK);
        size_t count = ledger_count(l);
        bool whole = ledger_damaged(l) == 0;
        ledger_close(l);
        /* Without checksums, damage that was too large for the file may become whole as the file grows. */
        MUST(ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK && (ledger_count(l) == count || !whole));
        read_rows(l);
        ledger_close(l);
    } else {
        MUST(strlen(why) > 0);
    }
    buffer_release(&content);
    file_system_free(fs);
}

static void small(struct script *s) {
    struct file_system *fs = file_system_memory_new();
    struct hard_state state, again;
    struct identity identity;
    char why[200] = "";
    struct bytes content = take_bytes(s, SIZE_MAX);
    save(fs, "hard_state", content);
    save(fs, "identity", content);
    if (hard_state_load(fs, &state, why, sizeof why) == FILE_OK) {
        MUST(hard_state_save(fs, &state) == FILE_OK);
        MUST(hard_state_load(fs, &again, why, sizeof why) == FILE_OK && again.term == state.term);
    } else {
        MUST(strlen(why) > 0);
    }
    if (identity_load(fs, &identity, why, sizeof why) == FILE_OK) {
        MUST(strlen(identity.cluster) <= CLUSTER_NAME_MAX);
        MUST(identity_save(fs, &identity) == FILE_OK &&
             identity_load(fs, &identity, why, sizeof why) == FILE_OK);
    } else {
        MUST(strlen(why) > 0);
    }
    file_system_free(fs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = script_of(data, size);
    switch (take_u8(&s) % 4) {
    case 0:
        snapshot(&s, true);
        break;
    case 1:
        snapshot(&s, false);
        break;
    case 2:
        ledger(&s);
        break;
    default:
        small(&s);
        break;
    }
    return 0;
}
