/* The bounds of kvsim-tiny, which is built from kvsim's sources with this header before each of them: so
 * small that a seed meets most of them, where kvsim's seeds would have to run for hours. check_bounds.c
 * counts how often. The product defines each of them between #ifndef and #endif for this alone.
 *
 * What the product relies on between its bounds holds for these too: whatever one leader that continues alone
 * can leave behind fits an empty ledger, a record fits an append and the log's segment. Values are below 110
 * bytes. */
#ifndef TESTS_SIM_TINY_H
#define TESTS_SIM_TINY_H

#define KVSIM_TINY 1

#define RETRIES_MAX         8    /* 100,000 rows */
#define STORE_UNDO_SIZE     64   /* 64 MiB */
#define REPLICA_DIGESTS     2    /* 4,096 entries */
#define UNCOMMITTED_MAX     160  /* 256 MiB */
#define LEDGER_SIZE_MAX     448  /* 1 GiB */
#define LOG_CACHE_SIZE      1    /* 16 MiB: the segment at the end alone */
#define MESSAGE_RECORDS_MAX 8192 /* 2 MiB */
#define PROBE_SIZE          512  /* 64 KiB */
#define FLIGHTS_MAX         2    /* 128 appends */
#define MESSAGE_CHUNK_SIZE  1024 /* 256 KiB */
#define CHUNK_FIRST_SIZE    512  /* 4 KiB */
#define SNAPSHOT_SLICE_SIZE 512  /* 256 KiB */
#define LISTING_SLICE_SIZE  64   /* 32 KiB */
#define KEYS_SLICE_SIZE     48   /* 48 KiB */

#endif
