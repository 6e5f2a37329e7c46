#include <bsd/string.h>
#include <stdlib.h>

#include "storage/log_internal.h"
#include "tests/sim/chaos_internal.h"

#define NAMES_MAX 64

/* What a group can bear. */

static int machine_of(const struct chaos *c, const struct member_id *id) {
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        if (memcmp(c->sim->machines[i]->id, id->id, NODE_ID_SIZE) == 0)
            return (int)i;
    return -1;
}

/* A copy of a state that was flipped is as good as none. */
static bool is_lost(const struct chaos *c, const struct member_id *id) {
    int i = machine_of(c, id);
    return i < 0 || c->places[i].lost || c->places[i].flipped ||
           c->sim->machines[i]->incarnation != id->incarnation;
}

/* One more of the voters of this set may lose what it had, whether or not one is taken from it just now. */
static bool set_bears(const struct chaos *c, const struct configuration *configuration, enum voter_set set,
                      const struct machine *m) {
    size_t voters = 0, lost = 0, leaving = c->operator.waiting && c->leaves;
    bool votes = false;
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        if (!(member->role & (unsigned)set))
            continue;
        bool own = machine_of(c, &member->id) == (int)m->index;
        voters++;
        votes = votes || own;
        lost += !own && is_lost(c, &member->id);
    }
    return !votes || 2 * (lost + 1) + leaving < voters;
}

static bool bears(const struct chaos *c, const struct configuration *configuration, const struct machine *m) {
    return set_bears(c, configuration, VOTERS_OLD, m) && set_bears(c, configuration, VOTERS_NEW, m);
}

bool damage_bearable(const struct chaos *c, const struct machine *m) {
    bool known = false;
    if (c->beyond)
        return true;
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *other = c->sim->machines[i];
        if (other->group != m->group || machine_configuration(other)->count == 0)
            continue;
        known = true;
        if (!bears(c, machine_configuration(other), m) || !bears(c, machine_committed(other), m))
            return false;
    }
    return known;
}

void damage_lost(struct chaos *c, struct machine *m) {
    c->places[m->index].lost = true;
    check_lost(m);
}

/* The configuration that the group's leader knows to be committed; NULL without a leader. */
static const struct configuration *committed(const struct chaos *c, uint32_t group) {
    const struct configuration *newest = NULL;
    uint64_t newest_at = 0, at;
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        if (m->node == NULL || m->group != group)
            continue;
        const struct configuration *known =
            raft_configuration_committed(replica_raft(node_replica(m->node)), &at);
        if (known->count > 0 && at >= newest_at) {
            newest = known;
            newest_at = at;
        }
    }
    return newest;
}

void damage_recovered(struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        struct place *place = &c->places[i];
        if (!place->lost || place->latent || place->flipped || m->node == NULL)
            continue;
        const struct configuration *configuration = committed(c, m->group);
        const struct member_id id = {.incarnation = node_self(m->node)->incarnation};
        for (size_t j = 0; configuration != NULL && j < configuration->count; j++) {
            const struct member *member = &configuration->members[j];
            if (machine_of(c, &member->id) == (int)i && member->id.incarnation == id.incarnation &&
                member->role == MEMBER_VOTER)
                place->lost = false;
        }
    }
}

/* Damage. */

struct names_found {
    char names[NAMES_MAX][FILE_NAME_MAX];
    size_t count;
    char newest[FILE_NAME_MAX]; /* segment; empty: none */
};

static void find_name(void *arg, const char *name) {
    struct names_found *found = arg;
    if (found->count == NAMES_MAX)
        return;
    strlcpy(found->names[found->count++], name, FILE_NAME_MAX);
    if (strncmp(name, "log-", 4) == 0)
        strlcpy(found->newest, name, FILE_NAME_MAX);
}

static uint64_t little(const uint8_t *at, size_t size) {
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

/* Where the records of a segment end, and how far in it the last batch tells that all before was synced
 * (storage/FORMAT.md). */
static void walk_segment(const struct sim_disk *disk, const char *name, uint64_t *end, uint64_t *attested) {
    uint8_t head[RECORD_HEADER_SIZE], batch[16];
    uint64_t number = strtoull(name + 4, NULL, 16);
    *end = *attested = SEGMENT_HEADS_SIZE;
    while (sim_disk_peek(disk, name, *end, head, sizeof head) == sizeof head && little(head + 8, 4) != 0) {
        uint64_t size = RECORD_HEADER_SIZE + (little(head + 8, 4) + 7) / 8 * 8;
        if (head[12] == RECORD_BATCH &&
            sim_disk_peek(disk, name, *end + RECORD_HEADER_SIZE, batch, sizeof batch) == sizeof batch &&
            little(batch, 8) == number && little(batch + 8, 8) > *attested)
            *attested = little(batch + 8, 8);
        *end += size;
    }
}

/* The last batch looks, once it is damaged, like one that a power cut tore: nothing on the disk tells. */
static bool tells(const struct machine *m, const struct names_found *found, const char *name,
                  enum sim_damage kind, uint64_t offset) {
    uint64_t end, attested, size = kind == DAMAGE_BIT ? 1 : kind >= DAMAGE_PAGE_ZEROS ? 4096 : 512;
    if (strcmp(name, found->newest) != 0 || kind == DAMAGE_SHORT || kind == DAMAGE_MISSING)
        return true;
    walk_segment(m->disk, name, &end, &attested);
    offset -= offset % size;
    return offset + size <= attested || offset >= end + SEGMENT_END_SIZE;
}

static uint64_t choose_offset(struct chaos *c, const struct machine *m, const char *name) {
    uint64_t size = sim_disk_size(m->disk, name), end, attested;
    if (size == 0 || chaos_below(c, 6) == 0)
        return chaos_below(c, size + 1);
    if (strncmp(name, "log-", 4) == 0) {
        walk_segment(m->disk, name, &end, &attested);
        size = end < size ? end : size;
    }
    return chaos_below(c, 4) == 0 ? chaos_below(c, size < 1024 ? size : 1024) : chaos_below(c, size);
}

static void damage_file(struct chaos *c, struct machine *m, const struct names_found *found, bool running) {
    const char *name = found->names[chaos_below(c, found->count)];
    enum sim_damage kind = (enum sim_damage)chaos_below(c, running ? DAMAGE_SHORT : SIM_DAMAGES);
    uint64_t offset = choose_offset(c, m, name);
    if (strncmp(name, "spare-", 6) == 0 || !tells(m, found, name, kind, offset))
        return;
    if (!sim_disk_damage(m->disk, kind, name, offset, &c->sim->random[STREAM_DISK]))
        return;
    if (kind == DAMAGE_UNREADABLE)
        m->may_fail = true;
    sim_note(c->sim, "the disk of %u: %s at %llu of %s%s", m->index + 1, sim_damage_text(kind),
             (unsigned long long)offset, name, running ? ", while its node runs" : "");
    sim_count(c->sim, (enum situation)(TALLY_DAMAGE_BIT + (unsigned)kind));
}

void damage_strike(struct chaos *c, struct machine *m) {
    struct names_found found = {0};
    bool running = chaos_below(c, 3) == 0;
    if (m->memory || !damage_bearable(c, m))
        return;
    if (m->node == NULL)
        running = false;
    else if (!running)
        machine_kill(m);
    sim_disk_names(m->disk, find_name, &found);
    if (found.count == 0)
        return;
    damage_lost(c, m);
    c->places[m->index].latent = true;
    if (!running && chaos_below(c, 8) == 0) {
        const char *a = found.names[chaos_below(c, found.count)],
                   *b = found.names[chaos_below(c, found.count)];
        if (strncmp(a, "spare-", 6) != 0 && strncmp(b, "spare-", 6) != 0 && sim_disk_swap(m->disk, a, b)) {
            sim_note(c->sim, "the disk of %u: %s and %s are swapped", m->index + 1, a, b);
            sim_count(c->sim, TALLY_DAMAGE_SWAPPED);
        }
        return;
    }
    for (uint64_t count = 1 + chaos_below(c, 3); count > 0; count--)
        damage_file(c, m, &found, running);
}

void damage_lie(struct chaos *c, struct machine *m) {
    bool elsewhere = chaos_below(c, 2) == 0;
    if (m->memory || m->node == NULL || !damage_bearable(c, m))
        return;
    sim_note(c->sim, "the next write of %u goes %s", m->index + 1, elsewhere ? "elsewhere" : "nowhere");
    damage_lost(c, m);
    c->places[m->index].latent = true;
    sim_disk_lie(m->disk, elsewhere, &c->sim->random[STREAM_DISK]);
    sim_count(c->sim, elsewhere ? TALLY_WRITE_MISDIRECTED : TALLY_WRITE_LOST);
}

/* Whoever empties a directory starts the node without -leader from then on: a partition may hide the group.
 */
void damage_wipe(struct chaos *c, struct machine *m) {
    if (!damage_bearable(c, m))
        return;
    machine_kill(m);
    machine_wipe(m);
    m->leader_flag = false;
    damage_lost(c, m);
    sim_count(c->sim, TALLY_WIPED);
}

/* Not an older state of its own, a backup put back: nobody can tell that one from a node that was away. */
void damage_clone(struct chaos *c, struct machine *m) {
    const struct machine *from = c->sim->machines[chaos_below(c, c->sim->options.machines)];
    if (from == m || from->disk_of == m->index || m->memory || from->memory || !damage_bearable(c, m))
        return;
    machine_kill(m);
    machine_clone(m, from);
    m->leader_flag = false;
    damage_lost(c, m);
    sim_count(c->sim, TALLY_CLONED);
}
