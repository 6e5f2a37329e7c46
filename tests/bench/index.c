/* The ordered index against a plain B+-tree of record pointers: memory and time at growing sizes.
 *
 *     build/tests/bench/index [millions of keys ...]        default: 1 5
 *
 * Every line is a process of its own, so that resident memory is that of one index. "over" is resident memory
 * beyond the bytes of keys and values, records' headers included, in bytes a key. Insertions and gets are in
 * random order. The B+-tree has 64 children a node, splits in the middle, keeps no copies of key bytes and is
 * never deleted from: the smallest honest contender. */
#include "storage/index.h"

#include "storage/random.h"
#include "tests/bench/measure.h"

#include <assert.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VALUE_SIZE 32
#define GETS       2000000
#define BTREE_MAX  10 /* million keys; beyond, the contender takes minutes */

/* ---- keys ---- */

static size_t decimal(uint8_t *to, uint64_t number, size_t digits) {
    for (size_t i = digits; i-- > 0; number /= 10)
        to[i] = (uint8_t)('0' + number % 10);
    return digits;
}

static uint64_t scramble(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static size_t dense_key(uint8_t *to, uint64_t i) {
    memcpy(to, "key:", 4);
    return 4 + decimal(to + 4, i, 12);
}

static size_t hex_key(uint8_t *to, uint64_t i) {
    uint64_t bits = scramble(i + 1);
    for (size_t at = 0; at < 16; at++, bits >>= 4)
        to[at] = (uint8_t) "0123456789abcdef"[bits & 15];
    return 16;
}

static size_t user_key(uint8_t *to, uint64_t i) {
    static const char *kinds[] = {"profile", "session", "settings", "cart"};
    uint64_t user = i / 4;
    memcpy(to, "tenant:", 7);
    size_t size = 7 + decimal(to + 7, scramble(user) % 50, 3);
    memcpy(to + size, "/user:", 6);
    size += 6 + decimal(to + size + 6, user, 9);
    to[size++] = '/';
    const char *kind = kinds[i % 4];
    memcpy(to + size, kind, strlen(kind));
    return size + strlen(kind);
}

/* ---- the contender ---- */

#define WIDTH 64

struct bnode {
    uint16_t count;
    bool leaf;
    struct record *records[WIDTH]; /* inner: the least of each child */
    struct bnode *children[];      /* inner only */
};

static struct bnode *bnode_new(bool leaf) {
    struct bnode *node = calloc(1, sizeof *node + (leaf ? 0 : WIDTH * sizeof(struct bnode *)));
    if (node == NULL)
        err(1, "out of memory");
    node->leaf = leaf;
    return node;
}

/* How many of the node's records are <= key. */
static unsigned bnode_upper(const struct bnode *node, struct bytes key) {
    unsigned low = 0, high = node->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (bytes_compare(record_key(node->records[middle]), key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct record *btree_get(const struct bnode *node, struct bytes key) {
    for (;;) {
        unsigned at = bnode_upper(node, key);
        if (node->leaf)
            return at > 0 && bytes_equal(record_key(node->records[at - 1]), key) ? node->records[at - 1]
                                                                                 : NULL;
        node = node->children[at == 0 ? 0 : at - 1];
    }
}

static void bnode_insert_at(struct bnode *node, unsigned at, struct record *record, struct bnode *child) {
    unsigned after = node->count - at;
    memmove(node->records + at + 1, node->records + at, after * sizeof *node->records);
    node->records[at] = record;
    if (!node->leaf) {
        memmove(node->children + at + 1, node->children + at, after * sizeof *node->children);
        node->children[at] = child;
    }
    node->count++;
}

static struct bnode *bnode_split(struct bnode *node) {
    struct bnode *right = bnode_new(node->leaf);
    unsigned half = node->count / 2;
    right->count = (uint16_t)(node->count - half);
    memcpy(right->records, node->records + half, right->count * sizeof *node->records);
    if (!node->leaf)
        memcpy(right->children, node->children + half, right->count * sizeof *node->children);
    node->count = (uint16_t)half;
    return right;
}

/* Returns what was split off to the right, or NULL. */
static struct bnode *bnode_put(struct bnode *node, struct record *record) {
    unsigned at = bnode_upper(node, record_key(record));
    struct bnode *child = NULL;
    if (!node->leaf) {
        unsigned down = at == 0 ? 0 : at - 1;
        child = bnode_put(node->children[down], record);
        node->records[down] = node->children[down]->records[0];
        if (child == NULL)
            return NULL;
        at = down + 1;
        record = child->records[0];
    }
    struct bnode *right = node->count == WIDTH ? bnode_split(node) : NULL;
    if (right != NULL && at > node->count)
        bnode_insert_at(right, at - node->count, record, child);
    else
        bnode_insert_at(node, at, record, child);
    return right;
}

static void btree_put(struct bnode **root, struct record *record) {
    struct bnode *right = bnode_put(*root, record);
    if (right == NULL)
        return;
    struct bnode *top = bnode_new(false);
    bnode_insert_at(top, 0, (*root)->records[0], *root);
    bnode_insert_at(top, 1, right->records[0], right);
    *root = top;
}

static uint64_t btree_walk(const struct bnode *node, uint64_t sum) {
    for (unsigned i = 0; i < node->count; i++)
        sum = node->leaf ? sum + node->records[i]->flags + 1 : btree_walk(node->children[i], sum);
    return sum;
}

/* ---- measuring ---- */

struct key_set {
    const char *name;
    size_t (*make)(uint8_t *to, uint64_t i);
};

struct bench {
    bool btree;
    const struct key_set *keys;
    uint64_t count;
    struct slab slab;
    struct index index;
    struct bnode *root;
};

/* A permutation of 0 .. count - 1. */
static uint64_t shuffled(const struct bench *b, uint64_t i) {
    return (uint64_t)((unsigned __int128)i * 2305843009213693951u % b->count);
}

static uint64_t insert_all(struct bench *b) {
    uint64_t content = 0;
    uint8_t key[64], value[VALUE_SIZE] = {0};
    for (uint64_t i = 0; i < b->count; i++) {
        size_t size = b->keys->make(key, shuffled(b, i));
        struct record *record = record_new(
            &b->slab,
            &(struct store_record){.key = {key, size}, .value = {value, VALUE_SIZE}, .version = {3, i + 1}});
        if (b->btree)
            btree_put(&b->root, record);
        else
            index_put(&b->index, record);
        content += size + VALUE_SIZE;
    }
    return content;
}

static void get_some(const struct bench *b, struct random *random) {
    uint8_t key[64];
    for (uint64_t i = 0; i < GETS; i++) {
        struct bytes wanted = {key, b->keys->make(key, random_next(random) % b->count)};
        struct record *record = b->btree ? btree_get(b->root, wanted) : index_get(&b->index, wanted);
        if (record == NULL)
            errx(1, "a key is missing");
    }
}

static bool count_each(void *arg, struct record *record) {
    *(uint64_t *)arg += record->flags + 1u;
    return true;
}

static void scan_all(const struct bench *b) {
    uint64_t sum = 0;
    if (b->btree)
        sum = btree_walk(b->root, 0);
    else
        index_walk(&b->index, (struct bytes){NULL, 0}, count_each, &sum);
    if (sum < b->count)
        errx(1, "the scan is short");
}

static void run(void *arg) {
    struct bench *b = arg;
    struct random random;
    random_seed(&random, 1);
    slab_init(&b->slab);
    index_init(&b->index, &b->slab);
    b->root = bnode_new(true);
    uint64_t before = resident();
    double t0 = now_s();
    uint64_t content = insert_all(b);
    double t1 = now_s();
    double over = (double)(resident() - before - content) / (double)b->count;
    get_some(b, &random);
    double t2 = now_s();
    get_some(b, &random);
    double t3 = now_s();
    scan_all(b);
    double t4 = now_s();
    printf("%-6s %-7s %6.1f  %8.1f  %9.0f  %6.0f  %7.1f\n", b->btree ? "b+tree" : "radix", b->keys->name,
           (double)b->count / 1e6, over, (t1 - t0) / (double)b->count * 1e9, (t3 - t2) / GETS * 1e9,
           (t4 - t3) / (double)b->count * 1e9);
}

int main(int argc, char **argv) {
    static const struct key_set sets[] = {{"dense", dense_key}, {"hex", hex_key}, {"users", user_key}};
    char *standard[] = {argv[0], "1", "5"};
    if (argc < 2) {
        argc = 3;
        argv = standard;
    }
    printf("index  keys   million  over B/key  insert ns  get ns  scan ns\n");
    for (int i = 1; i < argc; i++)
        for (size_t set = 0; set < 3; set++)
            for (int btree = 0; btree < (atof(argv[i]) > BTREE_MAX ? 1 : 2); btree++)
                run_apart(run, &(struct bench){.btree = btree,
                                               .keys = &sets[set],
                                               .count = (uint64_t)(atof(argv[i]) * 1e6)});
    return 0;
}
