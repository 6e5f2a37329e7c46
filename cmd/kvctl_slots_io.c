#include "cmd/kvctl.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/slot.h"

#define LEADERS_MAX 256 /* as many nodes as an answer may list */

struct range {
    uint64_t first, last, group;
};

struct leader {
    uint64_t group;
    struct bytes address;
};

/* What GET /cluster says of slots. */
struct slots_answer {
    struct range *ranges; /* in order */
    size_t range_count;
    struct leader leaders[LEADERS_MAX];
    size_t leader_count;
    uint64_t self_group;
    bool shared; /* there is more than one group */
};

static void read_ranges(struct json *j, struct slots_answer *out) {
    for (json_open_array(j); json_next_element(j);) {
        uint64_t numbers[3] = {0};
        size_t count = 0;
        for (json_open_array(j); json_next_element(j); count++) {
            uint64_t number = json_u64(j);
            if (count < 3)
                numbers[count] = number;
        }
        struct range range = {numbers[0], numbers[1], numbers[2]};
        uint64_t next = out->range_count == 0 ? 0 : out->ranges[out->range_count - 1].last + 1;
        if (count != 3 || range.first != next || range.last < range.first || range.last >= SLOT_COUNT) {
            json_fail(j, "slots are ranges from 0 on, without a gap");
            return;
        }
        out->ranges[out->range_count++] = range;
    }
}

static void read_node(struct json *j, struct slots_answer *out) {
    struct leader row = {0};
    struct bytes name;
    bool leads = false;
    for (json_open_object(j); json_next_member(j, &name);) {
        if (bytes_equal(name, bytes_of("address")))
            row.address = json_string(j);
        else if (bytes_equal(name, bytes_of("group_id")))
            row.group = json_u64(j);
        else if (bytes_equal(name, bytes_of("is_leader")))
            leads = json_bool(j);
        else
            json_skip(j);
    }
    if (leads && out->leader_count < LEADERS_MAX)
        out->leaders[out->leader_count++] = row;
}

static void read_cluster(struct json *j, struct slots_answer *out) {
    struct bytes name;
    for (json_open_object(j); json_next_member(j, &name);) {
        if (bytes_equal(name, bytes_of("self_group"))) {
            out->self_group = json_u64(j);
        } else if (bytes_equal(name, bytes_of("nodes"))) {
            for (json_open_array(j); json_next_element(j);)
                read_node(j, out);
        } else if (bytes_equal(name, bytes_of("slots"))) {
            read_ranges(j, out);
        } else {
            out->shared |= bytes_equal(name, bytes_of("ring_epoch"));
            json_skip(j);
        }
    }
    json_end(j);
}

static struct bytes leader_of(const struct slots_answer *answer, uint64_t group) {
    for (size_t i = 0; i < answer->leader_count; i++)
        if (answer->leaders[i].group == group)
            return answer->leaders[i].address;
    return bytes_of("-");
}

static void print_ranges(const struct slots_answer *answer) {
    printf("%5s %5s %5s %10s  %s\n", "FIRST", "LAST", "SLOTS", "GROUP", "LEADER");
    for (size_t i = 0; i < answer->range_count; i++) {
        const struct range *range = &answer->ranges[i];
        struct bytes leader = leader_of(answer, range->group);
        printf("%5llu %5llu %5llu %10llu  %.*s\n", (unsigned long long)range->first,
               (unsigned long long)range->last, (unsigned long long)(range->last - range->first + 1),
               (unsigned long long)range->group, (int)leader.size, (const char *)leader.data);
    }
}

static void print_owner(const struct slots_answer *answer, struct bytes key) {
    uint32_t slot = slot_of(key);
    size_t i = 0;
    while (answer->ranges[i].last < slot)
        i++;
    struct bytes leader = leader_of(answer, answer->ranges[i].group);
    printf("slot %u, group %llu, leader %.*s\n", (unsigned)slot, (unsigned long long)answer->ranges[i].group,
           (int)leader.size, (const char *)leader.data);
}

int print_slots(const struct options *o, struct json *j) {
    struct slots_answer answer = {.ranges = calloc(SLOT_COUNT, sizeof(struct range))};
    if (answer.ranges == NULL)
        err(1, "out of memory for the slots");
    read_cluster(j, &answer);
    if (json_ok(j) && !answer.shared) { /* a group alone owns all */
        answer.ranges[0] = (struct range){0, SLOT_COUNT - 1, answer.self_group};
        answer.range_count = 1;
    }
    int code = finish(j);
    if (code == EXIT_DONE &&
        (answer.range_count == 0 || answer.ranges[answer.range_count - 1].last != SLOT_COUNT - 1)) {
        fputs("kvctl: this node knows of no ring yet: ask again, or another node\n", stderr);
        code = EXIT_REFUSED;
    } else if (code == EXIT_DONE && o->count > 2) {
        print_owner(&answer, bytes_of(o->arguments[2]));
    } else if (code == EXIT_DONE) {
        print_ranges(&answer);
    }
    free(answer.ranges);
    return code;
}
