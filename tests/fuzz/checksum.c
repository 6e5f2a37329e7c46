/* In place of storage/crc32c.c: every checksum is 0, so whatever the fuzzer makes can be right. */
#include "storage/crc32c.h"

uint32_t crc32c(uint32_t crc, struct bytes data) {
    (void)crc;
    (void)data;
    return 0;
}
