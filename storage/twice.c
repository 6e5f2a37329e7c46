#include "storage/twice.h"

#include "storage/buffer.h"
#include "storage/crc32c.h"
#include "storage/wire.h"

#include <assert.h>
#include <stdio.h>

#define MAGIC_SIZE 8u /* its last byte is the version */

static uint32_t checksum(const uint8_t *page, uint32_t size) {
    uint32_t of_size = crc32c(0, (struct bytes){page + MAGIC_SIZE, 4});
    return crc32c(of_size, (struct bytes){page + TWICE_HEADER_SIZE, size});
}

static struct bytes copy_body(const uint8_t *page, const char *magic) {
    uint32_t size = get_u32(page + MAGIC_SIZE);
    bool valid = memcmp(page, magic, MAGIC_SIZE) == 0 && size <= TWICE_BODY_MAX &&
                 checksum(page, size) == get_u32(page + MAGIC_SIZE + 4);
    return valid ? (struct bytes){page + TWICE_HEADER_SIZE, size} : (struct bytes){NULL, 0};
}

static bool is_of_another_version(const uint8_t *page, const char *magic) {
    return memcmp(page, magic, MAGIC_SIZE - 1) == 0 && page[MAGIC_SIZE - 1] >= '0' &&
           page[MAGIC_SIZE - 1] <= '9' && page[MAGIC_SIZE - 1] != (uint8_t)magic[MAGIC_SIZE - 1];
}

static void read_page(struct file *file, unsigned copy, uint8_t *page, size_t size) {
    size_t got = 0;
    if (file_read(file, copy * TWICE_PAGE, page, size, &got) != FILE_OK)
        got = 0;
    memset(page + got, 0, size - got);
}

void twice_read(struct file *file, const char *magic, struct twice *out) {
    for (unsigned copy = 0; copy < 2; copy++) {
        read_page(file, copy, out->pages[copy], sizeof out->pages[copy]);
        out->copies[copy] = copy_body(out->pages[copy], magic);
    }
}

enum file_result twice_load(struct file_system *fs, const char *name, const char *magic, struct twice *out,
                            char *why, size_t why_size) {
    struct file *file;
    enum file_result result = file_open(fs, name, false, &file);
    if (result != FILE_OK) {
        snprintf(why, why_size, "%s: %s", name, file_result_text(result));
        return result;
    }
    twice_read(file, magic, out);
    file_close(file);
    if (out->copies[0].data != NULL || out->copies[1].data != NULL)
        return FILE_OK;
    if (is_of_another_version(out->pages[0], magic)) {
        snprintf(why, why_size, "%s was written by another version of kvnode", name);
        return FILE_OLD;
    }
    snprintf(why, why_size, "%s is damaged", name);
    return FILE_CORRUPT;
}

void twice_put(struct buffer *out, const char *magic, struct bytes body) {
    assert(body.size <= TWICE_BODY_MAX);
    size_t from = buffer_size(out);
    buffer_append(out, (struct bytes){(const uint8_t *)magic, MAGIC_SIZE});
    write_u32(out, (uint32_t)body.size);
    write_u32(out, 0);
    buffer_append(out, body);
    uint8_t *page = out->data + out->start + from;
    put_u32(page + MAGIC_SIZE + 4, checksum(page, (uint32_t)body.size));
}

enum file_result twice_replace(struct file_system *fs, const char *name, const char *magic,
                               struct bytes body) {
    struct buffer content = {0};
    for (unsigned copy = 0; copy < 2; copy++) {
        twice_put(&content, magic, body);
        while (buffer_size(&content) < (copy + 1) * TWICE_PAGE)
            write_u8(&content, 0);
    }
    enum file_result result = file_replace(fs, name, buffer_bytes(&content));
    buffer_release(&content);
    return result;
}
