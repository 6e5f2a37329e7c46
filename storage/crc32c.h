/* CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720, appendix B.4), in hardware where the
 * processor has it (chosen at run time), else by tables. crc32c(0, "123456789") is 0xE3069283. */
#ifndef STORAGE_CRC32C_H
#define STORAGE_CRC32C_H

#include "storage/bytes.h"

/* crc is 0 at first, or the result for the bytes before these. */
uint32_t crc32c(uint32_t crc, struct bytes data);
/* The portable form, for the test that compares the two. */
uint32_t crc32c_tables(uint32_t crc, struct bytes data);

#endif
