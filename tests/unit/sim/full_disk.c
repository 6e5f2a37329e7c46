/* What a leader whose disk is full says, and to whom. */
#include "tests/unit/sim/asking.h"

struct heard {
    unsigned full, room;
    char text[256];
};

static void said(void *arg, struct machine *m, const char *event, const char *text) {
    struct heard *heard = arg;
    (void)m;
    heard->full += strcmp(event, "disk_full") == 0;
    heard->room += strcmp(event, "disk_has_room") == 0;
    if (strcmp(event, "disk_full") == 0)
        snprintf(heard->text, sizeof heard->text, "%s", text);
}

/* Writes until one is refused for lack of room; false where none is. */
static bool fill(struct asking *a) {
    char value[3001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned i = 0; i < 100; i++)
        if (set(a, 0, "k", value) == 507)
            return true;
    return false;
}

TEST(a_leader_says_once_that_its_disk_is_full_and_once_that_it_has_room_again) {
    struct asking *a = asking_new(1, 1, 1, ACK_ASYNC);
    struct heard heard = {0};
    a->sim->said = said;
    a->sim->said_arg = &heard;
    sim_disk_set_capacity(a->sim->machines[0]->disk, sim_disk_used(a->sim->machines[0]->disk));
    OK(fill(a));
    for (unsigned i = 0; i < 10; i++) {
        OK(fill(a));
        sim_run(a->sim, SECOND);
    }
    EQUAL(heard.full, 1);
    EQUAL(heard.room, 0);
    OK(strstr(heard.text, "full") != NULL && strstr(heard.text, "507") != NULL &&
       strstr(heard.text, "free space") != NULL && strstr(heard.text, "directory") != NULL);
    sim_disk_set_capacity(a->sim->machines[0]->disk, 0);
    for (unsigned i = 0; i < 10; i++) {
        STATUS_IS(a, set(a, 0, "k", "v"), 200);
        sim_run(a->sim, SECOND);
    }
    EQUAL(heard.full, 1);
    EQUAL(heard.room, 1);
    sim_disk_set_capacity(a->sim->machines[0]->disk, sim_disk_used(a->sim->machines[0]->disk));
    OK(fill(a));
    sim_run(a->sim, SECOND);
    EQUAL(heard.full, 2);
    asking_free(a);
}

TESTS(TAP(a_leader_says_once_that_its_disk_is_full_and_once_that_it_has_room_again))
