/* Keys in byte order, as a slice of a listing travels between nodes and to the listing: u8 1 where there are
 * more keys behind it, then each key with its size (u16). */
#ifndef API_KEYS_SLICE_H
#define API_KEYS_SLICE_H

#include "storage/wire.h"

#ifndef KEYS_SLICE_SIZE
#define KEYS_SLICE_SIZE (48u * 1024) /* bytes of keys, shared by all groups */
#endif

struct keys_slice {
    struct reader reader;
    bool more;
};

static inline struct keys_slice keys_slice_of(struct bytes bytes) {
    struct keys_slice slice = {.reader = reader_of(bytes)};
    slice.more = read_u8(&slice.reader) != 0;
    return slice;
}

/* The next key, borrowed; false behind the last one, and where the bytes are none. */
static inline bool keys_slice_next(struct keys_slice *slice, struct bytes *key) {
    if (reader_left(&slice->reader) == 0)
        return false;
    *key = read_bytes16(&slice->reader);
    return reader_ok(&slice->reader) && key->size > 0;
}

#endif
