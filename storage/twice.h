/* Small files that hold the same thing twice, each copy in a page of its own, so that no damage to one page
 * loses it (FORMAT.md, "Copies"). */
#ifndef STORAGE_TWICE_H
#define STORAGE_TWICE_H

#include "storage/file.h"

#define TWICE_PAGE        4096u
#define TWICE_HEADER_SIZE 16u
#define TWICE_BODY_MAX    256u

struct twice {
    struct bytes copies[2]; /* the bodies; data NULL: damaged */
    uint8_t pages[2][TWICE_HEADER_SIZE + TWICE_BODY_MAX];
};

/* Of the file's first two pages; one that cannot be read is damaged. */
void twice_read(struct file *file, const char *magic, struct twice *out);
/* FILE_NOT_FOUND. FILE_CORRUPT: neither
 * copy is valid; FILE_OLD: nor damaged, but of another version. `why` then holds one line. */
enum file_result twice_load(struct file_system *fs, const char *name, const char *magic, struct twice *out,
                            char *why, size_t why_size);
/* One copy, behind what `out` holds, without its padding. */
void twice_put(struct buffer *out, const char *magic, struct bytes body);
/* The file anew, both copies, whole or not at all (file_replace). Blocks. */
enum file_result twice_replace(struct file_system *fs, const char *name, const char *magic,
                               struct bytes body);

#endif
