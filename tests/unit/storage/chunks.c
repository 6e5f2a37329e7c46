#include "storage/chunks.h"

#include "storage/random.h"
#include "tests/tap.h"

static uint8_t at(uint64_t position) {
    return (uint8_t)(position * 2654435761u >> 13);
}

static void append(struct chunks *q, uint64_t *written, size_t size) {
    static uint8_t data[300000];
    for (size_t i = 0; i < size; i++)
        data[i] = at(*written + i);
    chunks_append(q, (struct bytes){data, size});
    *written += size;
}

/* What the front shows is what comes next; some of it is taken. */
static bool take(struct chunks *q, uint64_t *taken, struct random *random) {
    struct bytes pieces[4];
    size_t count = chunks_front(q, pieces, 4), shown = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < pieces[i].size; j++, shown++)
            if (pieces[i].data[j] != at(*taken + shown))
                return false;
    size_t used = shown == 0 ? 0 : random_below(random, shown) + 1;
    chunks_consume(q, used);
    *taken += used;
    return true;
}

TEST(what_was_appended_comes_out_in_order_however_it_is_cut) {
    struct chunks q = {0};
    struct random random;
    uint64_t written = 0, taken = 0;
    random_seed(&random, 7);
    for (int i = 0; i < 2000; i++) {
        append(&q, &written, random_below(&random, i % 100 == 0 ? 300000 : 3000));
        if (!OK(take(&q, &taken, &random)))
            break;
        EQUAL(q.size, written - taken);
    }
    while (q.size > 0 && OK(take(&q, &taken, &random)))
        ;
    EQUAL(taken, written);
    chunks_release(&q);
}

TEST(a_queue_holds_little_more_memory_than_its_content_and_gives_back_what_is_emptied) {
    struct chunks q = {0};
    uint64_t written = 0;
    while (written < 10 * 1000 * 1000) {
        append(&q, &written, 70000);
        OK(q.memory <= q.size + 2 * CHUNK_SIZE_MAX + (q.size / CHUNK_SIZE_MAX + 8) * 64);
    }
    chunks_consume(&q, q.size - 10);
    OK(q.memory <= 2 * CHUNK_SIZE_MAX);
    chunks_consume(&q, 10);
    OK(q.memory < 2 * CHUNK_SIZE_MIN);
    append(&q, &written, 100);
    EQUAL(q.size, 100);
    chunks_release(&q);
    EQUAL(q.memory, 0);
}

TESTS(TAP(what_was_appended_comes_out_in_order_however_it_is_cut),
      TAP(a_queue_holds_little_more_memory_than_its_content_and_gives_back_what_is_emptied))
