/* What the kernel tells of this process. */
#ifndef CMD_PROCESS_IO_H
#define CMD_PROCESS_IO_H

#include <stdint.h>

/* 0 where it cannot be had. */
uint64_t process_io_resident_bytes(void);
uint64_t process_io_descriptors(void);
/* Of the machine. */
uint64_t process_io_memory_bytes(void);

#endif
