/* The slot of a key: what the ring places, what routing looks up, what moves between groups and what the
 * digest sums.
 *
 * It is CRC16/XMODEM of the key's hash tag, modulo 16,384. The hash tag is what stands between the first `{`
 * and the next `}` after it, or the whole key where there are no such two or nothing stands between them.
 * Keys with the same tag have the same slot. It is Redis Cluster's rule (its cluster specification, "Key
 * distribution model"), so that its clients can compute it. */
#ifndef STORAGE_SLOT_H
#define STORAGE_SLOT_H

#include "storage/bytes.h"

#define SLOT_COUNT 16384

uint32_t slot_of(struct bytes key); /* below SLOT_COUNT */
uint16_t slot_crc16(struct bytes bytes);

#endif
