/* Seeds that once failed: lines `seed [--ack MODE] [--nodes N] [--ms N] [--fsync MS] [--with WHAT]  # why` of
 * files in tests/sim/corpus. A seed gives another run as soon as anything draws another number, so that a
 * line keeps a failure's conditions in the suite, not the failure itself: that has a test of its own. */
#ifndef TESTS_SIM_CORPUS_H
#define TESTS_SIM_CORPUS_H

#include "tests/sim/chaos.h"

enum corpus_line { CORPUS_SEED, CORPUS_BLANK, CORPUS_BAD };

/* line is cut into words. */
enum corpus_line corpus_parse(char *line, struct chaos_options *out);

/* The texts of --ack and --with, here and on kvsim's command line. with: by the bit of enum sim_with; NULL
 * behind the last one. */
const char *corpus_ack_text(enum ack_mode mode);
bool corpus_ack(const char *text, enum ack_mode *out);
const char *corpus_with_text(unsigned bit);

#endif
