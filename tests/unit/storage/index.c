/* slab, record and index: the index against a sorted array. */
#include "storage/index.h"

#include "storage/random.h"
#include "tests/tap.h"

#define KEYS_MAX 4096

/* The simplest ordered map there is. */
struct model {
    struct record *records[KEYS_MAX];
    size_t count;
};

static size_t model_position(const struct model *model, struct bytes key) {
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(record_key(model->records[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct record *model_get(const struct model *model, struct bytes key) {
    size_t at = model_position(model, key);
    return at < model->count && bytes_equal(record_key(model->records[at]), key) ? model->records[at] : NULL;
}

static struct record *model_put(struct model *model, struct record *record) {
    size_t at = model_position(model, record_key(record));
    struct record *old = model_get(model, record_key(record));
    if (old == NULL) {
        memmove(model->records + at + 1, model->records + at, (model->count - at) * sizeof *model->records);
        model->count++;
    }
    model->records[at] = record;
    return old;
}

static struct record *model_remove(struct model *model, struct bytes key) {
    struct record *old = model_get(model, key);
    if (old != NULL) {
        size_t at = model_position(model, key);
        memmove(model->records + at, model->records + at + 1, (--model->count - at) * sizeof *model->records);
    }
    return old;
}

/* Sets of keys that a radix tree could get wrong. Every one fills `key` and returns its size. */
typedef size_t key_maker(struct random *random, uint8_t key[KEY_SIZE_MAX]);

static size_t few_symbols(struct random *random, uint8_t key[KEY_SIZE_MAX]) {
    static const uint8_t symbols[] = {0, 1, 0x7f, 0x80, 0xff};
    size_t size = 1 + random_below(random, 6);
    for (size_t i = 0; i < size; i++)
        key[i] = symbols[random_below(random, sizeof symbols)];
    return size;
}

static size_t any_two_bytes(struct random *random, uint8_t key[KEY_SIZE_MAX]) {
    key[0] = (uint8_t)random_below(random, 4);
    key[1] = (uint8_t)random_below(random, 256);
    return 1 + random_below(random, 2);
}

static size_t long_common_prefixes(struct random *random, uint8_t key[KEY_SIZE_MAX]) {
    size_t size = 1 + random_below(random, KEY_SIZE_MAX);
    memset(key, 'a', KEY_SIZE_MAX);
    if (random_below(random, 2) == 0)
        key[random_below(random, size)] = 'b';
    return random_below(random, 8) == 0 ? KEY_SIZE_MAX - KEY_SIZE_MAX % size : size;
}

static size_t a_run_of_one_byte(struct random *random, uint8_t key[KEY_SIZE_MAX]) {
    static const uint8_t symbols[] = {0, 0xff};
    memset(key, symbols[random_below(random, 2)], KEY_SIZE_MAX);
    return 1 + random_below(random, KEY_SIZE_MAX);
}

static size_t decimals(struct random *random, uint8_t key[KEY_SIZE_MAX]) {
    return (size_t)snprintf((char *)key, KEY_SIZE_MAX, "key:%05d", (int)random_below(random, 3000));
}

static size_t paths(struct random *random, uint8_t key[KEY_SIZE_MAX]) {
    static const char *parts[] = {"tenant", "user", "users", "a", "", "session", "profile"};
    size_t size = 0, depth = 1 + random_below(random, 4);
    for (size_t i = 0; i < depth; i++)
        size += (size_t)snprintf((char *)key + size, 64, "%s/", parts[random_below(random, 7)]);
    return size + (size_t)snprintf((char *)key + size, 64, "%d", (int)random_below(random, 20));
}

struct fixture {
    struct slab slab;
    struct index index;
    struct model model;
    struct random random;
    uint64_t next;
};

static struct record *make(struct fixture *f, struct bytes key) {
    uint8_t value[64] = {0};
    struct store_record content = {
        .key = key, .value = {value, random_below(&f->random, sizeof value)}, .version = {1, ++f->next}};
    return record_new(&f->slab, &content);
}

struct expect {
    const struct model *model;
    size_t at, left;
    bool wrong;
};

static bool expect_each(void *arg, struct record *record) {
    struct expect *expect = arg;
    expect->wrong |= expect->at >= expect->model->count || expect->model->records[expect->at] != record;
    expect->at++;
    return !expect->wrong && --expect->left > 0;
}

static bool walk_agrees(const struct fixture *f, struct bytes from, size_t limit) {
    struct expect expect = {&f->model, model_position(&f->model, from), limit, false};
    bool to_the_end = index_walk(&f->index, from, expect_each, &expect);
    return !expect.wrong && (expect.left == 0 ? !to_the_end : to_the_end && expect.at == f->model.count);
}

static bool one_step(struct fixture *f, key_maker *maker, unsigned puts_of_8) {
    uint8_t bytes[KEY_SIZE_MAX];
    struct bytes key = {bytes, maker(&f->random, bytes)};
    unsigned dice = (unsigned)random_below(&f->random, 16);
    struct record *old = NULL;
    if (dice < puts_of_8) {
        struct record *record = make(f, key);
        old = index_put(&f->index, record);
        if (old != model_put(&f->model, record))
            return false;
    } else if (dice < 8) {
        old = index_remove(&f->index, key);
        if (old != model_remove(&f->model, key))
            return false;
    } else if (dice < 15) {
        return index_get(&f->index, key) == model_get(&f->model, key);
    } else {
        return walk_agrees(f, key, 1 + random_below(&f->random, 8));
    }
    if (old != NULL)
        record_free(&f->slab, old);
    return index_count(&f->index) == f->model.count;
}

/* Grows, stays, shrinks, and starts again, so that nodes pass through every size both ways. */
static void against_the_model(struct tap *tap, key_maker *maker, uint64_t seed, int steps) {
    struct fixture *f = calloc(1, sizeof *f);
    slab_init(&f->slab);
    index_init(&f->index, &f->slab);
    random_seed(&f->random, seed);
    for (int i = 0; i < steps; i++) {
        unsigned puts_of_8 = i / 20000 % 3 == 0 ? 7 : i / 20000 % 3 == 1 ? 4 : 1;
        if (f->model.count >= KEYS_MAX - 1)
            puts_of_8 = 0;
        if (!OK(one_step(f, maker, puts_of_8)))
            break;
        if (i % 5000 == 0 && !OK(walk_agrees(f, (struct bytes){NULL, 0}, SIZE_MAX)))
            break;
    }
    while (f->model.count > 0) {
        struct record *record = f->model.records[random_below(&f->random, f->model.count)];
        if (!OK(index_remove(&f->index, record_key(record)) == record))
            break;
        model_remove(&f->model, record_key(record));
        record_free(&f->slab, record);
    }
    EQUAL(index_count(&f->index), 0);
    OK(index_walk(&f->index, (struct bytes){NULL, 0}, expect_each, NULL));
    slab_clear(&f->slab);
    free(f);
}

TEST(keys_that_are_prefixes_of_each_other_and_hold_nul_and_ff_agree_with_a_sorted_array) {
    against_the_model(tap, few_symbols, 1, 1000000);
}

TEST(nodes_with_up_to_256_children_agree_with_a_sorted_array) {
    against_the_model(tap, any_two_bytes, 2, 1000000);
}

TEST(keys_of_up_to_1024_bytes_with_long_common_prefixes_agree_with_a_sorted_array) {
    against_the_model(tap, long_common_prefixes, 3, 150000);
}

TEST(a_chain_of_1024_keys_each_a_prefix_of_the_next_agrees_with_a_sorted_array) {
    against_the_model(tap, a_run_of_one_byte, 4, 50000);
}

TEST(dense_decimal_keys_agree_with_a_sorted_array) {
    against_the_model(tap, decimals, 5, 1000000);
}

TEST(path_like_keys_agree_with_a_sorted_array) {
    against_the_model(tap, paths, 6, 1000000);
}

/* An index filled in order from the model's records: it walks as the model does, and goes on as any other. */
static void filled_in_order(struct tap *tap, key_maker *maker, uint64_t seed, size_t puts) {
    struct fixture *f = calloc(1, sizeof *f);
    uint8_t bytes[KEY_SIZE_MAX];
    slab_init(&f->slab);
    index_init(&f->index, &f->slab);
    random_seed(&f->random, seed);
    for (size_t i = 0; i < puts; i++)
        model_put(&f->model, make(f, (struct bytes){bytes, maker(&f->random, bytes)}));
    struct index_run *run = index_run_new(&f->index);
    for (size_t i = 0; i < f->model.count; i++) {
        OK(index_run_add(run, f->model.records[i]));
        OK(!index_run_add(run, f->model.records[random_below(&f->random, i + 1)]));
    }
    index_run_end(run);
    EQUAL(index_count(&f->index), f->model.count);
    OK(walk_agrees(f, (struct bytes){NULL, 0}, SIZE_MAX));
    for (size_t i = 0; i < f->model.count; i++)
        if (!OK(index_get(&f->index, record_key(f->model.records[i])) == f->model.records[i]))
            break;
    for (int i = 0; i < 20000 && f->model.count < KEYS_MAX - 1; i++)
        if (!OK(one_step(f, maker, 4)))
            break;
    OK(walk_agrees(f, (struct bytes){NULL, 0}, SIZE_MAX));
    slab_clear(&f->slab);
    free(f);
}

TEST(an_index_filled_in_order_is_the_one_that_puts_would_have_made) {
    key_maker *makers[] = {few_symbols,       any_two_bytes, long_common_prefixes,
                           a_run_of_one_byte, decimals,      paths};
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++)
        for (size_t puts = 0; puts <= 3000; puts = puts * 4 + 1)
            filled_in_order(tap, makers[i], i + 10, puts);
}

TEST(descending_to_many_keys_at_a_time_changes_nothing_whatever_they_are) {
    struct fixture *f = calloc(1, sizeof *f);
    uint8_t bytes[100][KEY_SIZE_MAX];
    struct bytes keys[100];
    slab_init(&f->slab);
    index_init(&f->index, &f->slab);
    for (int i = 0; i < 20000 && OK(one_step(f, few_symbols, 5)); i++) {
        size_t count = random_below(&f->random, 101);
        for (size_t k = 0; k < count; k++)
            keys[k] = (struct bytes){bytes[k], few_symbols(&f->random, bytes[k])};
        index_warm(&f->index, keys, count);
    }
    slab_clear(&f->slab);
    free(f);
}

TEST(a_slab_gives_back_everything_it_took) {
    struct slab slab;
    struct random random;
    slab_init(&slab);
    random_seed(&random, 7);
    enum { CELLS = 20000 };
    uint8_t **cells = calloc(CELLS, sizeof *cells);
    size_t *sizes = calloc(CELLS, sizeof *sizes);
    for (int i = 0; i < 400000; i++) {
        size_t at = random_below(&random, CELLS);
        if (cells[at] != NULL) {
            OK(cells[at][0] == (uint8_t)at && cells[at][sizes[at] - 1] == (uint8_t)at);
            slab_free(&slab, cells[at], sizes[at]);
            cells[at] = NULL;
        } else {
            sizes[at] = 1 + random_below(&random, at % 10 == 0 ? 2000 : SLAB_CELL_MAX);
            cells[at] = slab_alloc(&slab, sizes[at]);
            OK((uintptr_t)cells[at] % 8 == 0);
            memset(cells[at], (uint8_t)at, sizes[at]);
        }
    }
    uint64_t high = slab_memory(&slab);
    for (size_t at = 0; at < CELLS; at++)
        if (cells[at] != NULL)
            slab_free(&slab, cells[at], sizes[at]);
    OK(slab_memory(&slab) <= SLAB_SIZES * 64 * 1024); /* a chunk of each size stays */
    OK(slab_memory(&slab) < high);
    slab_clear(&slab);
    EQUAL(slab_memory(&slab), 0);
    free(cells);
    free(sizes);
}

static struct store_record content_of(uint8_t *bytes, size_t key, size_t value, size_t clock,
                                      struct version version, uint64_t expiry_ms) {
    return (struct store_record){.key = {bytes, key},
                                 .value = {bytes + 1, value},
                                 .version = version,
                                 .expiry_ms = expiry_ms,
                                 .clock = {bytes + 2, clock}};
}

static bool same_content(const struct store_record *a, const struct store_record *b) {
    return bytes_equal(a->key, b->key) && bytes_equal(a->value, b->value) &&
           bytes_equal(a->clock, b->clock) && version_equal(a->version, b->version) &&
           a->expiry_ms == b->expiry_ms && a->moved == b->moved && a->object == b->object;
}

TEST(a_record_gives_back_what_it_was_made_of_at_every_width_of_every_field) {
    static const size_t keys[] = {1, 255, 256, 1024}, values[] = {0, 255, 256, 65535, 65536, VALUE_SIZE_MAX};
    static const uint64_t indexes[] = {1, 0xffffffffff, 0x10000000000, UINT64_MAX};
    static const uint64_t terms[] = {0, 0xffff, 0x10000, UINT64_MAX};
    static const uint64_t orders[] = {0, 1, 0xffffffffff, 0x10000000000, UINT64_MAX};
    struct slab slab;
    slab_init(&slab);
    uint8_t *bytes = malloc(VALUE_SIZE_MAX + 2);
    for (size_t i = 0; i < VALUE_SIZE_MAX + 2; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    for (unsigned i = 0; i < 4 * 6 * 4 * 4 * 4; i++) {
        struct store_record in = content_of(
            bytes, keys[i % 4], values[i / 4 % 6], i / 24 % 2 ? CLOCK_SIZE_MAX : 0,
            (struct version){terms[i / 96 % 4], indexes[i / 384 % 4]}, i / 48 % 2 ? UINT64_MAX : 0);
        in.moved = orders[i % 5];
        in.object = i % 3 == 0;
        struct record *record = record_new(&slab, &in);
        struct store_record out;
        record_view(record, &out);
        OK(same_content(&in, &out));
        OK(bytes_equal(record_key(record), in.key));
        EQUAL(record_order(record), in.moved != 0 ? in.moved : in.version.index);
        EQUAL(record_check((struct bytes){(uint8_t *)record, record_size(record)}), record_size(record));
        record_free(&slab, record);
    }
    free(bytes);
    slab_clear(&slab);
}

TEST(every_prefix_of_a_record_is_refused_and_every_flipped_bit_is_refused_or_another_whole_record) {
    struct slab slab;
    slab_init(&slab);
    uint8_t bytes[2000] = {1, 2, 3};
    for (unsigned shape = 0; shape < 128; shape++) {
        struct store_record in = content_of(bytes, shape & 1 ? 300 : 3, shape & 2 ? 300 : 5,
                                            shape & 4 ? 9 : 0, (struct version){3, 12}, shape & 8 ? 77 : 0);
        in.moved = shape & 16 ? shape & 32 ? UINT64_C(1) << 40 : 12 : 0;
        in.object = shape & 64;
        struct record *record = record_new(&slab, &in);
        size_t size = record_size(record);
        for (size_t prefix = 0; prefix < size; prefix++) {
            uint8_t *exact = malloc(prefix + 1);
            memcpy(exact + 1, record, prefix);
            EQUAL(record_check((struct bytes){exact + 1, prefix}), 0);
            free(exact);
        }
        for (size_t bit = 0; bit < size * 8; bit++) {
            uint8_t *exact = malloc(size);
            memcpy(exact, record, size);
            exact[bit / 8] ^= (uint8_t)(1 << bit % 8);
            size_t checked = record_check((struct bytes){exact, size});
            OK(checked <= size);
            if (checked != 0)
                EQUAL(record_size((struct record *)exact), checked);
            free(exact);
        }
        record_free(&slab, record);
    }
    slab_clear(&slab);
}

/* With the input at the end of its memory. */
static size_t check_exactly(const uint8_t *bytes, size_t size) {
    uint8_t *exact = malloc(size);
    memcpy(exact, bytes, size);
    size_t checked = record_check((struct bytes){exact, size});
    free(exact);
    return checked;
}

TEST(a_record_with_an_extension_that_says_nothing_or_what_is_not_known_is_refused) {
    static const uint8_t moved[] = {128, 1, 0, 7, 0, 0, 0, 0, 1, 0, 1, 9, 0, 0, 0, 0, 'k'};
    static const uint8_t object[] = {128, 1, 0, 7, 0, 0, 0, 0, 1, 0, 2, 'k'};
    static const uint8_t empty[] = {128, 1, 0, 7, 0, 0, 0, 0, 1, 0, 0, 'k'};
    static const uint8_t unknown[] = {128, 1, 0, 7, 0, 0, 0, 0, 1, 0, 8, 'k'};
    static const uint8_t no_order[] = {128, 1, 0, 7, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 'k'};
    static const uint8_t wide[] = {128, 1, 0, 7, 0, 0, 0, 0, 1, 0, 5, 9, 0, 0, 0, 0, 0, 0, 0, 'k'};
    static const uint8_t wide_alone[] = {128, 1, 0, 7, 0, 0, 0, 0, 1, 0, 4, 9, 0, 0, 'k'};
    EQUAL(check_exactly(moved, sizeof moved), sizeof moved);
    EQUAL(record_order((const struct record *)moved), 9);
    EQUAL(check_exactly(object, sizeof object), sizeof object);
    EQUAL(check_exactly(empty, sizeof empty), 0);
    EQUAL(check_exactly(unknown, sizeof unknown), 0);
    EQUAL(check_exactly(no_order, sizeof no_order), 0);
    EQUAL(check_exactly(wide, sizeof wide), 0);
    EQUAL(check_exactly(wide_alone, sizeof wide_alone), 0);
}

TESTS(TAP(keys_that_are_prefixes_of_each_other_and_hold_nul_and_ff_agree_with_a_sorted_array),
      TAP(nodes_with_up_to_256_children_agree_with_a_sorted_array),
      TAP(keys_of_up_to_1024_bytes_with_long_common_prefixes_agree_with_a_sorted_array),
      TAP(a_chain_of_1024_keys_each_a_prefix_of_the_next_agrees_with_a_sorted_array),
      TAP(dense_decimal_keys_agree_with_a_sorted_array), TAP(path_like_keys_agree_with_a_sorted_array),
      TAP(an_index_filled_in_order_is_the_one_that_puts_would_have_made),
      TAP(descending_to_many_keys_at_a_time_changes_nothing_whatever_they_are),
      TAP(a_slab_gives_back_everything_it_took),
      TAP(a_record_gives_back_what_it_was_made_of_at_every_width_of_every_field),
      TAP(every_prefix_of_a_record_is_refused_and_every_flipped_bit_is_refused_or_another_whole_record),
      TAP(a_record_with_an_extension_that_says_nothing_or_what_is_not_known_is_refused))
