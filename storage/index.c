/* The tree.
 *
 * A node branches on the key byte at one position, its depth; all keys below it agree in every byte before. A
 * leaf is a record, told from a node by the lowest bit of the pointer. Nodes that would have one child do not
 * exist.
 *
 *     depth 4, "key:0", "key:1", "key:12"         [4]
 *                                              '0' /  \ '1'
 *                                         "key:0"      [5]
 *                                                  end /  \ '2'
 *                                              "key:1"     "key:12"
 *
 * A key that is a prefix of others ends at a node: it is that node's first child, before all bytes ("end").
 *
 * What differs from the paper. Nodes hold no bytes of a compressed path, only their absolute depth: a get
 * compares the whole key once, with the record it arrives at; an insertion takes any record below for the
 * bytes it needs. That keeps a node at 16 bytes plus its pointers and makes splitting and merging trivial.
 * Instead of four node sizes there are two shapes that grow in small steps, because a node just above the
 * records holds two to sixteen children and its unused slots would be most of the index:
 *
 *     list     up to 16 children: their bytes, sorted, then pointers; eight bytes are compared at a time
 *     bitmap   up to 257 children: a bit for each byte; the rank of the bit is the pointer's position
 *
 * Why this one. tests/bench/index.c compares it with a B+-tree of record pointers (2026-11-21, two cores of
 * an AMD EPYC, 32 MiB of third-level cache, 24 GiB, Debian 12, shared and noisy; 5 million keys, 32-byte
 * values; bytes a key beyond key and value, records' headers included; nanoseconds an operation):
 *
 *                            radix tree                      B+-tree
 *                       bytes  insert  get  scan      bytes  insert   get  scan
 *     dense decimals     28.0     445  505    40       30.2     969  1651    15
 *     random hex         33.8     665  591    52       28.6    1586  1571    14
 *     shared prefixes    36.6     630  841    72       26.3    1519  1770    14
 *
 * A descent of the B+-tree reads a record for every comparison, and each is a miss of the cache; copies of
 * key bytes in its nodes would cost the memory it saves. The radix tree reads a node for each byte in which
 * keys differ, most of them in the cache, and one record. What it pays is the scan, which still passes more
 * than ten million keys a second. A random get at 1, 5 and 20 million keys takes 395, 505 and 640 ns (dense),
 * 377, 591 and 708 ns (hex): a larger tree has more nodes that the cache does not hold. */
#include "storage/index.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <endian.h>
#include <err.h>

#define LIST_MAX     16
#define WARM_MAX     32
#define CHILDREN_MAX 257 /* every byte, and the end */

enum shape { SHAPE_LIST, SHAPE_BITMAP };

struct node {
    uint16_t depth;
    uint16_t count;    /* of children, the end included */
    uint16_t capacity; /* of children */
    uint8_t shape;
    uint8_t has_end; /* 1: child 0 is the record whose key ends at depth */
    uint64_t body[]; /* list: 1 or 2 words of bytes; bitmap: 4 words of bits, 1 of ranks; then the children */
};

#define BITMAP_WORDS 5

/* A child: a node, or a record with the lowest bit set. 0 is none. */
typedef uintptr_t child_t;

static inline bool is_record(child_t child) {
    return child & 1;
}

static inline struct record *to_record(child_t child) {
    return (struct record *)(child - 1);
}

static inline struct node *to_node(child_t child) {
    return (struct node *)child;
}

static inline child_t from_record(struct record *record) {
    return (child_t)record + 1;
}

static inline size_t list_words(size_t capacity) {
    return capacity > 8 ? 2 : 1;
}

static inline size_t body_words(const struct node *node) {
    return node->shape == SHAPE_LIST ? list_words(node->capacity) : BITMAP_WORDS;
}

static inline child_t *node_children(const struct node *node) {
    return (child_t *)(uintptr_t)(node->body + body_words(node));
}

static inline uint8_t *list_bytes(const struct node *node) {
    return (uint8_t *)(uintptr_t)node->body;
}

static inline unsigned list_byte_count(const struct node *node) {
    return node->count - node->has_end;
}

static size_t node_size(enum shape shape, size_t capacity) {
    size_t words = shape == SHAPE_LIST ? list_words(capacity) : BITMAP_WORDS;
    return sizeof(struct node) + (words + capacity) * sizeof(uint64_t);
}

/* ---- finding a child ---- */

/* Position of the first of 8 bytes that equals byte; 8 when none does. */
static inline unsigned word_find(uint64_t word, uint8_t byte) {
    uint64_t differ = le64toh(word) ^ (UINT64_C(0x0101010101010101) * byte);
    uint64_t zero = (differ - UINT64_C(0x0101010101010101)) & ~differ & UINT64_C(0x8080808080808080);
    return zero == 0 ? 8 : (unsigned)__builtin_ctzll(zero) / 8;
}

/* Number of byte's bit among those set, counted over the whole bitmap. */
static inline unsigned bitmap_rank(const struct node *node, uint8_t byte) {
    uint64_t below = node->body[byte / 64] & ((UINT64_C(1) << byte % 64) - 1);
    return ((const uint8_t *)&node->body[4])[byte / 64] + (unsigned)__builtin_popcountll(below);
}

static inline bool bitmap_has(const struct node *node, uint8_t byte) {
    return node->body[byte / 64] >> byte % 64 & 1;
}

static void bitmap_count(struct node *node) {
    unsigned rank = 0;
    for (unsigned i = 0; i < 4; i++) {
        ((uint8_t *)&node->body[4])[i] = (uint8_t)rank;
        rank += (unsigned)__builtin_popcountll(node->body[i]);
    }
}

/* The child for byte, or NULL. */
static inline child_t *node_find_byte(const struct node *node, uint8_t byte) {
    if (node->shape == SHAPE_BITMAP)
        return bitmap_has(node, byte) ? &node_children(node)[node->has_end + bitmap_rank(node, byte)] : NULL;
    unsigned at = word_find(node->body[0], byte);
    if (at == 8 && node->capacity > 8)
        at += word_find(node->body[1], byte);
    return at < list_byte_count(node) ? &node_children(node)[node->has_end + at] : NULL;
}

/* The child that key leads to, or NULL. */
static inline child_t *node_find(const struct node *node, struct bytes key) {
    if (key.size > node->depth)
        return node_find_byte(node, key.data[node->depth]);
    return key.size == node->depth && node->has_end ? node_children(node) : NULL;
}

/* How many children sort before what key has at the node's depth. */
static unsigned node_position(const struct node *node, struct bytes key) {
    if (key.size <= node->depth)
        return 0;
    uint8_t byte = key.data[node->depth];
    if (node->shape == SHAPE_BITMAP)
        return node->has_end + bitmap_rank(node, byte);
    unsigned at = 0, count = list_byte_count(node);
    while (at < count && list_bytes(node)[at] < byte)
        at++;
    return node->has_end + at;
}

/* ---- changing a node ---- */

/* Small steps while nodes are small: the unused slots of all nodes together are what an index wastes. */
static unsigned capacity_for(unsigned count) {
    if (count <= 8)
        return count;
    unsigned step = count <= LIST_MAX ? 2 : count <= 64 ? 4 : 16;
    unsigned capacity = (count + step - 1) / step * step;
    return capacity < CHILDREN_MAX ? capacity : CHILDREN_MAX;
}

static struct node *node_new(struct index *index, enum shape shape, size_t capacity, uint16_t depth) {
    struct node *node = slab_alloc(index->slab, node_size(shape, capacity));
    *node = (struct node){.depth = depth, .capacity = (uint16_t)capacity, .shape = (uint8_t)shape};
    memset(node->body, 0, body_words(node) * sizeof(uint64_t));
    return node;
}

static void node_free(struct index *index, struct node *node) {
    slab_free(index->slab, node, node_size(node->shape, node->capacity));
}

/* Marks byte as there, in a node whose children already are as they will be but for count. */
static void node_mark(struct node *node, uint8_t byte) {
    if (node->shape == SHAPE_BITMAP) {
        node->body[byte / 64] |= UINT64_C(1) << byte % 64;
        bitmap_count(node);
        return;
    }
    uint8_t *bytes = list_bytes(node);
    unsigned at = list_byte_count(node);
    for (; at > 0 && bytes[at - 1] > byte; at--)
        bytes[at] = bytes[at - 1];
    bytes[at] = byte;
}

static void node_unmark(struct node *node, uint8_t byte) {
    if (node->shape == SHAPE_BITMAP) {
        node->body[byte / 64] &= ~(UINT64_C(1) << byte % 64);
        bitmap_count(node);
        return;
    }
    unsigned at = 0, count = list_byte_count(node);
    while (list_bytes(node)[at] != byte)
        at++;
    memmove(list_bytes(node) + at, list_bytes(node) + at + 1, count - at - 1);
}

/* Copies the bytes of a node to one of another capacity or shape, whose count and end are still 0. */
static void copy_bytes(struct node *to, const struct node *from) {
    if (from->shape == SHAPE_LIST && to->shape == SHAPE_LIST) {
        memcpy(list_bytes(to), list_bytes(from), list_byte_count(from));
    } else if (from->shape == SHAPE_LIST) {
        for (unsigned i = 0; i < list_byte_count(from); i++)
            to->body[list_bytes(from)[i] / 64] |= UINT64_C(1) << list_bytes(from)[i] % 64;
        bitmap_count(to);
    } else if (to->shape == SHAPE_BITMAP) {
        memcpy(to->body, from->body, BITMAP_WORDS * sizeof(uint64_t));
    } else {
        unsigned at = 0;
        for (unsigned byte = 0; byte < 256; byte++)
            if (bitmap_has(from, (uint8_t)byte))
                list_bytes(to)[at++] = (uint8_t)byte;
    }
}

/* Replaces the node in its slot by one with room for exactly the capacity that suits count. */
static struct node *node_resize(struct index *index, child_t *slot, unsigned count) {
    struct node *old = to_node(*slot);
    enum shape shape = count > LIST_MAX ? SHAPE_BITMAP : SHAPE_LIST;
    struct node *node = node_new(index, shape, capacity_for(count), old->depth);
    copy_bytes(node, old);
    node->count = old->count;
    node->has_end = old->has_end;
    memcpy(node_children(node), node_children(old), old->count * sizeof(child_t));
    node_free(index, old);
    *slot = (child_t)node;
    return node;
}

/* Adds a child where key leads; there is none yet. */
static void node_add(struct index *index, child_t *slot, struct bytes key, child_t child) {
    struct node *node = to_node(*slot);
    if (node->count == node->capacity)
        node = node_resize(index, slot, node->count + 1u);
    unsigned at = node_position(node, key);
    child_t *children = node_children(node);
    memmove(children + at + 1, children + at, (node->count - at) * sizeof(child_t));
    children[at] = child;
    if (key.size > node->depth)
        node_mark(node, key.data[node->depth]);
    else
        node->has_end = 1;
    node->count++;
}

/* Removes the child where key leads; a node left with one child gives way to it. */
static void node_take(struct index *index, child_t *slot, struct bytes key) {
    struct node *node = to_node(*slot);
    unsigned at = node_position(node, key);
    child_t *children = node_children(node);
    if (key.size > node->depth)
        node_unmark(node, key.data[node->depth]);
    else
        node->has_end = 0;
    memmove(children + at, children + at + 1, (node->count - at - 1u) * sizeof(child_t));
    node->count--;
    if (node->count == 1) {
        *slot = children[0];
        node_free(index, node);
    } else if (capacity_for(node->count + 1u) < node->capacity) {
        /* Only once a whole step is unused, so that a child coming and going does not copy the node each
         * time. */
        node_resize(index, slot, node->count);
    }
}

/* ---- the verbs ---- */

void index_init(struct index *index, struct slab *slab) {
    *index = (struct index){.slab = slab};
}

struct record *index_get(const struct index *index, struct bytes key) {
    child_t child = index->root;
    while (child != 0 && !is_record(child)) {
        child_t *slot = node_find(to_node(child), key);
        child = slot == NULL ? 0 : *slot;
    }
    if (child == 0 || !bytes_equal(record_key(to_record(child)), key))
        return NULL;
    return to_record(child);
}

/* Nearly every node fits these, and what a put reads of a record does. */
#define WARM_LINE 64

static inline void warm(child_t child) {
    const char *at = is_record(child) ? (const char *)to_record(child) : (const char *)to_node(child);
    __builtin_prefetch(at);
    __builtin_prefetch(at + WARM_LINE);
}

/* Up to WARM_MAX descents side by side, a level at a time. */
static void warm_some(child_t root, const struct bytes *keys, size_t count) {
    child_t at[WARM_MAX];
    size_t left = count;
    for (size_t i = 0; i < count; i++)
        at[i] = root;
    while (left > 0) {
        left = 0;
        for (size_t i = 0; i < count; i++) {
            if (is_record(at[i]))
                continue;
            child_t *next = node_find(to_node(at[i]), keys[i]);
            at[i] = next != NULL ? *next : *node_children(to_node(at[i]));
            warm(at[i]);
            left++;
        }
    }
}

void index_warm(const struct index *index, const struct bytes *keys, size_t count) {
    if (index->root == 0)
        return;
    for (size_t i = 0; i < count; i += WARM_MAX)
        warm_some(index->root, keys + i, count - i < WARM_MAX ? count - i : WARM_MAX);
}

/* A record that shares as many first bytes with key as any: where key leads, or, where it leads nowhere, any
 * record below. The index is not empty. *slot is where key's way ends: where that record hangs, or the node
 * that has no child for it. */
static struct record *nearest(child_t *root, struct bytes key, child_t **slot) {
    child_t *at = root, child;
    while (!is_record(*at)) {
        child_t *next = node_find(to_node(*at), key);
        if (next == NULL)
            break;
        at = next;
    }
    *slot = at;
    for (child = *at; !is_record(child);)
        child = *node_children(to_node(child));
    return to_record(child);
}

static size_t common_size(struct bytes a, struct bytes b) {
    size_t size = a.size < b.size ? a.size : b.size, at = 0;
    for (; at + 8 <= size; at += 8)
        if (memcmp(a.data + at, b.data + at, 8) != 0)
            break;
    while (at < size && a.data[at] == b.data[at])
        at++;
    return at;
}

/* A node in place of *slot that tells what hangs there, whose keys go on like other, from record. */
static void split(struct index *index, child_t *slot, size_t depth, struct bytes other,
                  struct record *record) {
    struct node *node = node_new(index, SHAPE_LIST, 2, (uint16_t)depth);
    child_t was = *slot;
    *slot = (child_t)node;
    node_add(index, slot, other, was);
    node_add(index, slot, record_key(record), from_record(record));
}

struct record *index_put(struct index *index, struct record *record) {
    assert(((uintptr_t)record & 1) == 0);
    struct bytes key = record_key(record);
    if (index->root == 0) {
        index->root = from_record(record);
        index->count = 1;
        return NULL;
    }
    child_t *slot;
    struct record *near = nearest(&index->root, key, &slot);
    struct bytes other = record_key(near);
    size_t common = common_size(key, other);
    if (common == key.size && common == other.size) {
        *slot = from_record(record);
        return near;
    }
    if (is_record(*slot) || to_node(*slot)->depth != common) {
        /* The keys below differ from this one before the node's depth: it belongs further up. */
        slot = &index->root;
        while (!is_record(*slot) && to_node(*slot)->depth < common)
            slot = node_find_byte(to_node(*slot), key.data[to_node(*slot)->depth]);
    }
    if (!is_record(*slot) && to_node(*slot)->depth == common)
        node_add(index, slot, key, from_record(record));
    else
        split(index, slot, common, other, record);
    index->count++;
    return NULL;
}

struct record *index_remove(struct index *index, struct bytes key) {
    child_t *slot = &index->root, *parent = NULL;
    while (*slot != 0 && !is_record(*slot)) {
        parent = slot;
        slot = node_find(to_node(*slot), key);
        if (slot == NULL)
            return NULL;
    }
    if (*slot == 0 || !bytes_equal(record_key(to_record(*slot)), key))
        return NULL;
    struct record *record = to_record(*slot);
    if (parent == NULL)
        index->root = 0;
    else
        node_take(index, parent, key);
    index->count--;
    return record;
}

/* ---- filling in order ----
 *
 * The nodes on the way to the last key are still open, as levels: their children so far, those of the deepest
 * level at the end of one list for all. The next key closes every level below the byte in which it differs
 * from the last one, each becoming the newest child of the level above it. */

struct level {
    uint16_t depth;
    bool has_end;
    size_t start; /* of its children */
};

struct index_run {
    struct index *index;
    struct record *last; /* hangs nowhere yet */
    struct level *levels;
    child_t *children;
    uint8_t *bytes; /* of each child; of a key's end none that means anything */
    size_t level_count, level_capacity, child_count, child_capacity;
    uint64_t count;
};

struct index_run *index_run_new(struct index *index) {
    assert(index->root == 0);
    struct index_run *run = calloc(1, sizeof *run);
    if (run == NULL)
        err(1, "out of memory for the index");
    run->index = index;
    return run;
}

static void *grown(void *array, size_t capacity, size_t size) {
    array = reallocarray(array, capacity, size);
    if (array == NULL)
        err(1, "out of memory for the index");
    return array;
}

static void level_open(struct index_run *run, size_t depth) {
    if (run->level_count == run->level_capacity) {
        run->level_capacity = run->level_capacity * 2 + 16;
        run->levels = grown(run->levels, run->level_capacity, sizeof *run->levels);
    }
    run->levels[run->level_count++] = (struct level){.depth = (uint16_t)depth, .start = run->child_count};
}

/* To the deepest level, where key leads. */
static void level_add(struct index_run *run, struct bytes key, child_t child) {
    struct level *level = &run->levels[run->level_count - 1];
    if (run->child_count == run->child_capacity) {
        run->child_capacity = run->child_capacity * 2 + CHILDREN_MAX;
        run->children = grown(run->children, run->child_capacity, sizeof *run->children);
        run->bytes = grown(run->bytes, run->child_capacity, sizeof *run->bytes);
    }
    bool end = key.size == level->depth;
    if (end)
        level->has_end = true;
    run->bytes[run->child_count] = end ? 0 : key.data[level->depth];
    run->children[run->child_count++] = child;
}

/* The deepest level as a node. */
static child_t level_close(struct index_run *run) {
    const struct level *level = &run->levels[--run->level_count];
    size_t count = run->child_count - level->start, end = level->has_end;
    const uint8_t *bytes = run->bytes + level->start + end;
    enum shape shape = count > LIST_MAX ? SHAPE_BITMAP : SHAPE_LIST;
    struct node *node = node_new(run->index, shape, capacity_for((unsigned)count), level->depth);
    node->count = (uint16_t)count;
    node->has_end = level->has_end;
    if (shape == SHAPE_LIST) {
        memcpy(list_bytes(node), bytes, count - end);
    } else {
        for (size_t i = 0; i < count - end; i++)
            node->body[bytes[i] / 64] |= UINT64_C(1) << bytes[i] % 64;
        bitmap_count(node);
    }
    memcpy(node_children(node), run->children + level->start, count * sizeof(child_t));
    run->child_count = level->start;
    return (child_t)node;
}

/* Hangs the last record, which has that key, on the deepest level and closes the levels below depth. What is
 * left is for the level above them. */
static child_t close_below(struct index_run *run, struct bytes key, size_t depth) {
    child_t child = from_record(run->last);
    while (run->level_count > 0 && run->levels[run->level_count - 1].depth > depth) {
        level_add(run, key, child);
        child = level_close(run);
    }
    return child;
}

bool index_run_add(struct index_run *run, struct record *record) {
    if (run->last != NULL) {
        struct bytes key = record_key(record), before = record_key(run->last);
        size_t common = common_size(before, key);
        if (common == key.size || (common < before.size && key.data[common] < before.data[common]))
            return false;
        child_t child = close_below(run, before, common);
        if (run->level_count == 0 || run->levels[run->level_count - 1].depth < common)
            level_open(run, common);
        level_add(run, before, child);
    }
    run->last = record;
    run->count++;
    return true;
}

void index_run_end(struct index_run *run) {
    if (run->last != NULL) {
        struct bytes key = record_key(run->last);
        child_t child = from_record(run->last);
        for (; run->level_count > 0; child = level_close(run))
            level_add(run, key, child);
        run->index->root = child;
        run->index->count = run->count;
    }
    free(run->levels);
    free(run->children);
    free(run->bytes);
    free(run);
}

/* ---- walking ---- */

struct walk {
    bool (*each)(void *arg, struct record *record);
    void *arg;
    struct bytes from;
    size_t common; /* of from and the record nearest to it: nodes above this depth lie on from's path */
    bool before;   /* that record sorts before from */
};

static bool walk_all(const struct walk *walk, child_t child) {
    if (is_record(child))
        return walk->each(walk->arg, to_record(child));
    const struct node *node = to_node(child);
    for (unsigned i = 0; i < node->count; i++)
        if (!walk_all(walk, node_children(node)[i]))
            return false;
    return true;
}

/* What hangs here shares walk->common bytes with from, or as many as there are nodes to tell. */
static bool walk_from(const struct walk *walk, child_t child) {
    if (is_record(child) || to_node(child)->depth > walk->common)
        return walk->before || walk_all(walk, child);
    const struct node *node = to_node(child);
    unsigned at = node_position(node, walk->from);
    if (node->depth < walk->common && !walk_from(walk, node_children(node)[at++]))
        return false;
    for (; at < node->count; at++)
        if (!walk_all(walk, node_children(node)[at]))
            return false;
    return true;
}

bool index_walk(const struct index *index, struct bytes from, bool (*each)(void *arg, struct record *record),
                void *arg) {
    struct walk walk = {.each = each, .arg = arg, .from = from};
    if (index->root == 0)
        return true;
    child_t root = index->root, *slot;
    struct bytes near = record_key(nearest(&root, from, &slot));
    walk.common = common_size(near, from);
    walk.before = bytes_compare(near, from) < 0;
    return walk_from(&walk, index->root);
}
