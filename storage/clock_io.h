/* The time that cores are given: since the machine started, the time it was suspended included, so that
 * nothing that is dated by it (KV-Staleness-Ms, deadlines, silence) looks younger than it is. Never set,
 * never turned back. */
#ifndef STORAGE_CLOCK_IO_H
#define STORAGE_CLOCK_IO_H

#include <stdint.h>

uint64_t clock_us(void);
uint64_t clock_ms(void);

#endif
