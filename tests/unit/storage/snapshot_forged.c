/* Snapshots made by hand: every checksum fits, the content does not. */
#include "storage/crc32c.h"
#include "storage/snapshot_format.h"
#include "storage/wire.h"
#include "tests/unit/storage/snapshot_helper.h"

struct forged {
    struct buffer file;
    uint64_t digest;   /* of what was forged */
    uint32_t miscount; /* what the chain of checksums is wrong by */
};

static void forge(struct forged *f, unsigned type, struct bytes content) {
    uint8_t header[SNAPSHOT_BLOCK_HEADER_SIZE] = {(uint8_t)type};
    put_u32(header + 1, (uint32_t)content.size);
    put_u32(header + 5, crc32c(crc32c(0, (struct bytes){header, 5}), content));
    buffer_append(&f->file, (struct bytes){header, sizeof header});
    buffer_append(&f->file, content);
}

#define HEADER_SIZE (6 * 8 + 4) /* of a header block's content without a configuration */

static void forge_header(struct forged *f, struct version at) {
    struct buffer header = {0};
    write_u64(&header, at.index);
    write_u64(&header, at.term);
    write_u64(&header, 0);
    write_u64(&header, 0);
    write_u64(&header, 0);
    write_u64(&header, f->digest);
    write_bytes32(&header, bytes_of(""));
    forge(f, SNAPSHOT_BLOCK_HEADER, buffer_bytes(&header));
    buffer_release(&header);
}

static void forge_start(struct forged *f, struct version at) {
    *f = (struct forged){0};
    buffer_append(&f->file, (struct bytes){(const uint8_t *)SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_SIZE});
    forge_header(f, at);
}

static void forge_moved(struct forged *f, const char *key, struct version version, uint64_t order) {
    struct slab slab;
    slab_init(&slab);
    struct store_record content = {.key = bytes_of(key), .version = version, .moved = order};
    struct record *record = record_new(&slab, &content);
    forge(f, SNAPSHOT_BLOCK_RECORDS, (struct bytes){(uint8_t *)record, record_size(record)});
    f->digest += digest_hash(&content);
    slab_clear(&slab);
}

static void forge_record(struct forged *f, const char *key, struct version version) {
    forge_moved(f, key, version, 0);
}

/* Without its last bytes. */
static void forge_cut(struct forged *f, struct store_record content, size_t lacking) {
    struct slab slab;
    slab_init(&slab);
    struct record *record = record_new(&slab, &content);
    forge(f, SNAPSHOT_BLOCK_RECORDS, (struct bytes){(uint8_t *)record, record_size(record) - lacking});
    slab_clear(&slab);
}

/* The header again, now that the digest is known. */
static void forge_header_again(struct forged *f) {
    struct buffer rest = {0};
    size_t behind = SNAPSHOT_MAGIC_SIZE + SNAPSHOT_BLOCK_HEADER_SIZE + HEADER_SIZE;
    const uint8_t *content = f->file.data + SNAPSHOT_MAGIC_SIZE + SNAPSHOT_BLOCK_HEADER_SIZE;
    struct version at = {get_u64(content + 8), get_u64(content)};
    buffer_append(&rest, (struct bytes){f->file.data + behind, buffer_size(&f->file) - behind});
    f->file.end = f->file.start + SNAPSHOT_MAGIC_SIZE;
    forge_header(f, at);
    buffer_append(&f->file, buffer_bytes(&rest));
    buffer_release(&rest);
}

static struct loaded *forge_end(struct forged *f, uint64_t records) {
    struct buffer end = {0};
    forge_header_again(f);
    uint32_t chain = crc32c(0, (struct bytes){f->file.data, SNAPSHOT_MAGIC_SIZE}) ^ f->miscount;
    for (size_t at = SNAPSHOT_MAGIC_SIZE; at < buffer_size(&f->file);) {
        chain = crc32c(chain, (struct bytes){f->file.data + at, SNAPSHOT_BLOCK_HEADER_SIZE});
        at += SNAPSHOT_BLOCK_HEADER_SIZE + get_u32(f->file.data + at + 1);
    }
    write_u64(&end, records);
    write_u32(&end, chain);
    forge(f, SNAPSHOT_BLOCK_END, buffer_bytes(&end));
    buffer_release(&end);
    struct loaded *l = load(buffer_bytes(&f->file));
    buffer_release(&f->file);
    return l;
}

TEST(the_same_record_twice_is_one_key) {
    struct forged f;
    forge_start(&f, (struct version){2, 9});
    forge_record(&f, "a", (struct version){1, 5});
    forge_record(&f, "b", (struct version){2, 9});
    uint64_t digest = f.digest;
    forge_record(&f, "a", (struct version){1, 5});
    f.digest = digest;
    struct loaded *l = forge_end(&f, 3);
    EQUAL(l->result, SNAPSHOT_OK);
    EQUAL(store_count(l->store), 2);
    loaded_free(l);
}

static void forge_answer(struct forged *f, const struct store_answer *answer) {
    struct slab slab;
    struct retries retries;
    struct buffer row = {0};
    slab_init(&slab);
    retries_init(&retries, &slab);
    retries_add(&retries, answer);
    retries_row_encode(&row, retries_at(&retries, 0));
    forge(f, SNAPSHOT_BLOCK_ANSWERED, buffer_bytes(&row));
    f->digest += retries.digest;
    buffer_release(&row);
    retries_clear(&retries);
    slab_clear(&slab);
}

static void forge_answered(struct forged *f, const char *request, struct version at) {
    forge_answer(f, &(struct store_answer){.client = bytes_of("c"), .request = bytes_of(request), .at = at});
}

static bool refused_because(struct loaded *l, const char *what) {
    bool refused =
        l->result == SNAPSHOT_CORRUPT && strstr(l->why, what) != NULL && store_count(l->store) == 0;
    if (!refused)
        printf("# result %d, why \"%s\"\n", (int)l->result, l->why);
    loaded_free(l);
    return refused;
}

TEST(answered_pairs_that_cannot_be_are_refused_though_their_checksums_fit) {
    static const struct version at = {2, 9}, good = {1, 5}, later = {1, 6}, beyond = {2, 10};
    struct forged f;
    struct store_answer answer;
    forge_start(&f, at);
    forge_answered(&f, "a", good);
    forge_answered(&f, "b", later);
    struct loaded *l = forge_end(&f, 0);
    EQUAL(l->result, SNAPSHOT_OK);
    OK(store_answered(l->store, bytes_of("c"), bytes_of("b"), &answer) && version_equal(answer.at, later));
    loaded_free(l);
    forge_start(&f, at);
    forge_answered(&f, "a", later);
    forge_answered(&f, "b", good);
    OK(refused_because(forge_end(&f, 0), "out of order"));
    forge_start(&f, at);
    forge_answered(&f, "a", good);
    forge_answered(&f, "a", later);
    OK(refused_because(forge_end(&f, 0), "twice"));
    forge_start(&f, at);
    forge_answered(&f, "a", beyond);
    OK(refused_because(forge_end(&f, 0), "newer than the snapshot"));
    forge_start(&f, at);
    forge_answer(&f, &(struct store_answer){
                         .client = bytes_of("c"), .request = bytes_of("a"), .at = later, .current = at});
    OK(refused_because(forge_end(&f, 0), "later version"));
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_ANSWERED, bytes_of("too short"));
    OK(refused_because(forge_end(&f, 0), "malformed"));
}

TEST(content_that_cannot_be_is_refused_though_its_checksums_fit) {
    static const struct version at = {2, 9}, good = {1, 5};
    struct forged f;
    forge_start(&f, at);
    forge_record(&f, "a", good);
    forge_record(&f, "a", (struct version){1, 6});
    OK(refused_because(forge_end(&f, 2), "twice and not alike"));
    forge_start(&f, at);
    forge_record(&f, "a", (struct version){2, 10});
    OK(refused_because(forge_end(&f, 1), "newer than the snapshot"));
    forge_start(&f, at);
    forge_record(&f, "a", (struct version){3, 9});
    OK(refused_because(forge_end(&f, 1), "newer than the snapshot"));
    forge_start(&f, at);
    forge_record(&f, "a", good);
    OK(refused_because(forge_end(&f, 2), "records are missing"));
    forge_start(&f, at);
    f.miscount = 1;
    OK(refused_because(forge_end(&f, 0), "out of order"));
    forge_start(&f, at);
    forge(&f, 77, bytes_of("later"));
    OK(refused_because(forge_end(&f, 0), "unknown type 77"));
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_RECORDS, bytes_of("nonsense"));
    OK(refused_because(forge_end(&f, 0), "malformed"));
    for (size_t i = 0; i < 6; i++) { /* a record that is longer than what is left of its block */
        forge_start(&f, at);
        forge_cut(&f, (struct store_record){.key = bytes_of("a key"), .version = good, .moved = i % 2 * 6},
                  1 + i / 2);
        OK(refused_because(forge_end(&f, 1), "malformed"));
    }
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_RECORDS, bytes_of(""));
    OK(refused_because(forge_end(&f, 0), "size is 0"));
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_HEADER, bytes_of("again"));
    OK(refused_because(forge_end(&f, 0), "unknown type 1"));
}

TEST(an_answered_pair_that_was_moved_is_judged_by_its_order_and_keeps_its_position) {
    struct store_answer moved = {.client = bytes_of("c"),
                                 .request = bytes_of("a"),
                                 .at = {7, 1000},
                                 .current = {6, 2000},
                                 .slot = SLOT_COUNT - 1,
                                 .moved = 9,
                                 .origin = UINT32_MAX};
    struct forged f;
    struct store_answer answer;
    forge_start(&f, (struct version){2, 9});
    forge_answer(&f, &moved);
    struct loaded *l = forge_end(&f, 0);
    EQUAL(l->result, SNAPSHOT_OK);
    REQUIRE(store_answered(l->store, moved.client, moved.request, &answer));
    OK(version_equal(answer.at, moved.at) && version_equal(answer.current, moved.current));
    OK(answer.slot == moved.slot && answer.moved == 9 && answer.origin == UINT32_MAX);
    loaded_free(l);
    forge_start(&f, (struct version){2, 8});
    forge_answer(&f, &moved);
    OK(refused_because(forge_end(&f, 0), "newer than the snapshot"));
    forge_start(&f, (struct version){2, 9});
    moved.slot = SLOT_COUNT;
    forge_answer(&f, &moved);
    OK(refused_because(forge_end(&f, 0), "malformed"));
}

TEST(content_that_does_not_give_the_digest_of_the_header_is_refused_though_its_checksums_fit) {
    static const struct version at = {2, 9};
    for (unsigned wrong = 0; wrong < 3; wrong++) {
        struct forged f;
        forge_start(&f, at);
        forge_record(&f, "a", (struct version){1, 5});
        forge_answered(&f, "r", (struct version){1, 6});
        if (wrong == 1)
            f.digest++;
        else if (wrong == 2) /* as if a bit of the version had flipped before it was written */
            f.digest += digest_hash(&(struct store_record){.key = bytes_of("a"), .version = {1, 4}}) -
                        digest_hash(&(struct store_record){.key = bytes_of("a"), .version = {1, 5}});
        struct loaded *l = forge_end(&f, 1);
        if (wrong == 0) {
            EQUAL(l->result, SNAPSHOT_OK);
            EQUAL(l->header.digest, store_digest(l->store));
            loaded_free(l);
        } else {
            OK(refused_because(l, "digest"));
        }
    }
}

TEST(a_moved_record_is_judged_by_its_order_and_keeps_its_version) {
    static const struct version at = {2, 9}, foreign = {7, 1000};
    struct forged f;
    struct store_record record;
    forge_start(&f, at);
    forge_moved(&f, "a", foreign, 9);
    struct loaded *l = forge_end(&f, 1);
    EQUAL(l->result, SNAPSHOT_OK);
    REQUIRE(store_get(l->store, bytes_of("a"), &record));
    OK(version_equal(record.version, foreign) && record.moved == 9);
    loaded_free(l);
    forge_start(&f, at);
    forge_moved(&f, "a", (struct version){1, 3}, 10);
    OK(refused_because(forge_end(&f, 1), "newer than the snapshot"));
}

TESTS(TAP(the_same_record_twice_is_one_key),
      TAP(answered_pairs_that_cannot_be_are_refused_though_their_checksums_fit),
      TAP(content_that_cannot_be_is_refused_though_its_checksums_fit),
      TAP(an_answered_pair_that_was_moved_is_judged_by_its_order_and_keeps_its_position),
      TAP(content_that_does_not_give_the_digest_of_the_header_is_refused_though_its_checksums_fit),
      TAP(a_moved_record_is_judged_by_its_order_and_keeps_its_version))
