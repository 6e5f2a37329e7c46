/* A 64-bit hash of bytes: SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
 *
 * The key is given, so that the same bytes hash alike on every node and for ever: who owns a slot depends on
 * it. */
#ifndef SHARDING_HASH_H
#define SHARDING_HASH_H

#include "storage/bytes.h"

uint64_t hash_bytes(uint64_t key0, uint64_t key1, struct bytes bytes);

#endif
