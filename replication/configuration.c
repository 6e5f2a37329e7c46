/* The configuration record. PROTOCOL.md, "Configurations", draws it. */
#include "replication/configuration.h"

#include <assert.h>

#define FORMAT 4

bool member_id_equal(const struct member_id *a, const struct member_id *b) {
    return a->incarnation == b->incarnation && memcmp(a->id, b->id, NODE_ID_SIZE) == 0;
}

void configuration_encode(struct buffer *out, const struct configuration *configuration) {
    assert(configuration->count <= MEMBERS_MAX);
    write_u8(out, FORMAT);
    write_u64(out, configuration->group_id);
    write_u32(out, configuration->group);
    write_u64(out, configuration->founded_ms);
    write_u8(out, (uint8_t)configuration->mode);
    write_u8(out, configuration->voters_max);
    write_u8(out, (uint8_t)configuration->count);
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        buffer_append(out, (struct bytes){member->id.id, NODE_ID_SIZE});
        write_u64(out, member->id.incarnation);
        write_u8(out, (uint8_t)member->role);
        address_write(out, &member->peer);
        address_write(out, &member->api);
    }
    write_u8(out, (uint8_t)configuration->removed_count);
    for (size_t i = 0; i < configuration->removed_count; i++) {
        buffer_append(out, (struct bytes){configuration->removed[i].id, NODE_ID_SIZE});
        write_u64(out, configuration->removed[i].incarnation);
    }
}

static bool read_id(struct reader *r, struct member_id *out) {
    struct bytes id = read_bytes(r, NODE_ID_SIZE);
    if (!reader_ok(r) || !node_id_valid(id))
        return false;
    memcpy(out->id, id.data, NODE_ID_SIZE);
    out->incarnation = read_u64(r);
    return reader_ok(r);
}

static bool read_member(struct reader *r, struct member *out) {
    if (!read_id(r, &out->id))
        return false;
    uint8_t role = read_u8(r);
    if (role > MEMBER_VOTER && role != MEMBER_LEAVING)
        return false;
    out->role = (enum member_role)role;
    out->peer = address_read(r);
    out->api = address_read(r);
    return reader_ok(r);
}

static bool read_members(struct reader *r, struct configuration *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct member member;
        if (!read_member(r, &member) || configuration_find_name(out, member.id.id) != NULL)
            return false;
        out->members[out->count++] = member;
    }
    return true;
}

static bool read_removed(struct reader *r, struct configuration *out) {
    size_t count = read_u8(r);
    if (count > REMOVED_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct member_id id;
        if (!read_id(r, &id) || configuration_find(out, &id) != NULL || configuration_was_removed(out, &id))
            return false;
        out->removed[out->removed_count++] = id;
    }
    return true;
}

bool configuration_decode(struct bytes payload, struct configuration *out) {
    struct reader r = reader_of(payload);
    memset(out, 0, sizeof *out);
    if (read_u8(&r) != FORMAT)
        return false;
    out->group_id = read_u64(&r);
    out->group = read_u32(&r);
    out->founded_ms = read_u64(&r);
    uint8_t mode = read_u8(&r);
    out->mode = (enum ack_mode)mode;
    out->voters_max = read_u8(&r);
    size_t count = read_u8(&r);
    if (mode > ACK_ALL || out->voters_max < 1 || out->voters_max > VOTERS_MAX || count > MEMBERS_MAX)
        return false;
    if (!read_members(&r, out, count) || !read_removed(&r, out) || !reader_done(&r))
        return false;
    size_t before = configuration_voters_in(out, VOTERS_OLD), after = configuration_voters(out);
    return before >= 1 && before <= VOTERS_MAX && after >= 1 && after <= VOTERS_MAX;
}

static bool votes_in(const struct member *member, enum voter_set set) {
    return ((unsigned)member->role & set) != 0;
}

bool member_votes(const struct member *member) {
    return votes_in(member, VOTERS_OLD) || votes_in(member, VOTERS_NEW);
}

size_t configuration_voters_in(const struct configuration *configuration, enum voter_set set) {
    size_t voters = 0;
    for (size_t i = 0; i < configuration->count; i++)
        voters += votes_in(&configuration->members[i], set);
    return voters;
}

size_t configuration_voters(const struct configuration *configuration) {
    return configuration_voters_in(configuration, VOTERS_NEW);
}

bool configuration_is_joint(const struct configuration *configuration) {
    for (size_t i = 0; i < configuration->count; i++)
        if (votes_in(&configuration->members[i], VOTERS_OLD) !=
            votes_in(&configuration->members[i], VOTERS_NEW))
            return true;
    return false;
}

static bool votes_after(const struct configuration *configuration, const struct member_id *id) {
    const struct member *member = configuration_find(configuration, id);
    return member != NULL && votes_in(member, VOTERS_NEW);
}

bool configuration_same_voters(const struct configuration *a, const struct configuration *b) {
    size_t same = 0;
    for (size_t i = 0; i < a->count; i++)
        same += votes_after(a, &a->members[i].id) && votes_after(b, &a->members[i].id);
    return same == configuration_voters(a) && same == configuration_voters(b);
}

const struct member *configuration_find(const struct configuration *configuration,
                                        const struct member_id *id) {
    const struct member *member = configuration_find_name(configuration, id->id);
    return member != NULL && member_id_equal(&member->id, id) ? member : NULL;
}

const struct member *configuration_find_name(const struct configuration *configuration,
                                             const uint8_t id[NODE_ID_SIZE]) {
    for (size_t i = 0; i < configuration->count; i++)
        if (memcmp(configuration->members[i].id.id, id, NODE_ID_SIZE) == 0)
            return &configuration->members[i];
    return NULL;
}

bool configuration_was_removed(const struct configuration *configuration, const struct member_id *id) {
    for (size_t i = 0; i < configuration->removed_count; i++)
        if (member_id_equal(&configuration->removed[i], id))
            return true;
    return false;
}

static void forget_removed(struct configuration *configuration, size_t position) {
    assert(position < configuration->removed_count);
    configuration->removed_count--;
    memmove(&configuration->removed[position], &configuration->removed[position + 1],
            (configuration->removed_count - position) * sizeof configuration->removed[0]);
}

static void remember_no_more(struct configuration *configuration, const struct member_id *id) {
    for (size_t i = 0; i < configuration->removed_count; i++)
        if (member_id_equal(&configuration->removed[i], id))
            forget_removed(configuration, i--);
}

void configuration_towards(const struct configuration *from, const struct configuration *to,
                           struct configuration *out) {
    assert(!configuration_is_joint(from));
    assert(!configuration_is_joint(to));
    *out = *to;
    for (size_t i = 0; i < from->count; i++) {
        if (from->members[i].role != MEMBER_VOTER || configuration_find(to, &from->members[i].id) != NULL)
            continue;
        assert(out->count < MEMBERS_MAX);
        remember_no_more(out, &from->members[i].id);
        out->members[out->count] = from->members[i];
        out->members[out->count++].role = MEMBER_LEAVING;
    }
    for (size_t i = 0; i < to->count; i++) {
        bool before = votes_after(from, &to->members[i].id), after = to->members[i].role == MEMBER_VOTER;
        if (before != after)
            out->members[i].role = before ? MEMBER_OUTGOING : MEMBER_INCOMING;
    }
}

void configuration_after(const struct configuration *joint, enum voter_set set, struct configuration *out) {
    *out = *joint;
    for (size_t i = 0; i < joint->count; i++) {
        const struct member *member = &joint->members[i];
        if (member->role == MEMBER_LEAVING && set == VOTERS_NEW) {
            configuration_remove(out, &member->id);
            continue;
        }
        struct member *kept = (struct member *)(uintptr_t)configuration_find(out, &member->id);
        kept->role = votes_in(member, set) ? MEMBER_VOTER : MEMBER_LEARNER;
    }
}

void configuration_drop(struct configuration *configuration, const struct member_id *id) {
    const struct member_id gone = *id; /* it may lie in what moves */
    size_t kept = 0;
    for (size_t m = 0; m < configuration->count; m++)
        if (!member_id_equal(&configuration->members[m].id, &gone))
            configuration->members[kept++] = configuration->members[m];
    assert(kept + 1 == configuration->count);
    configuration->count = kept;
}

void configuration_remove(struct configuration *configuration, const struct member_id *id) {
    const struct member_id gone = *id;
    configuration_drop(configuration, &gone);
    if (configuration->removed_count == REMOVED_MAX)
        forget_removed(configuration, 0);
    configuration->removed[configuration->removed_count++] = gone;
}

void configuration_add(struct configuration *configuration, const struct member_id *id,
                       const struct address *peer, const struct address *api) {
    assert(configuration->count < MEMBERS_MAX);
    assert(configuration_find_name(configuration, id->id) == NULL);
    remember_no_more(configuration, id);
    configuration->members[configuration->count++] =
        (struct member){.id = *id, .role = MEMBER_LEARNER, .peer = *peer, .api = *api};
}
