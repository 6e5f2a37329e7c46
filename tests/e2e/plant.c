/* plant DIRECTORY FROM TO: the log of a stopped node gets other bytes, of the same number, in the records
 * that hold FROM, and checksums that are right for them. So a node starts from a log that no reader can tell
 * is wrong, as one would be that was damaged before its checksum was made. Prints how many records it
 * changed. */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/log_internal.h"

static unsigned plant(uint8_t *image, uint32_t size, struct bytes from, const char *to) {
    struct segment_head head;
    struct raw_record record;
    unsigned planted = 0;
    if (size < SEGMENT_HEADS_SIZE || !segment_head_read(image, &head))
        errx(1, "a segment without a head");
    uint32_t seed = segment_seed(head.salt, head.number);
    for (uint32_t at = SEGMENT_HEADS_SIZE; at + RECORD_HEADER_SIZE <= size; at += record.size) {
        struct bytes rest = {image + at, size - at};
        if (record_read(rest, &record) != RAW_OK || !record_belongs(image + at, seed, at))
            break;
        uint8_t *found = memmem(record.body.data, record.body.size, from.data, from.size);
        if (record.kind != RECORD_ENTRY || found == NULL)
            continue;
        memcpy(found, to, from.size);
        record_seal(image + at, record.kind, (uint32_t)record.body.size, seed, at);
        planted++;
    }
    return planted;
}

static unsigned plant_in(const char *path, const char *from, const char *to) {
    int descriptor = open(path, O_RDWR);
    struct stat st;
    if (descriptor < 0 || fstat(descriptor, &st) < 0)
        err(1, "%s", path);
    uint8_t *image = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (image == MAP_FAILED)
        err(1, "%s", path);
    unsigned planted = plant(image, (uint32_t)st.st_size, bytes_of(from), to);
    munmap(image, (size_t)st.st_size);
    close(descriptor);
    return planted;
}

int main(int argc, char *argv[]) {
    unsigned planted = 0;
    if (argc != 4 || strlen(argv[2]) != strlen(argv[3]))
        errx(2, "usage: plant DIRECTORY FROM TO, FROM and TO of the same size");
    DIR *directory = opendir(argv[1]);
    if (directory == NULL)
        err(1, "%s", argv[1]);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[4096];
        if (strncmp(entry->d_name, "log-", 4) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        planted += plant_in(path, argv[2], argv[3]);
    }
    closedir(directory);
    printf("%u\n", planted);
    return 0;
}
