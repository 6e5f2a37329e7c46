#include "tests/sim/tally.h"

const char *situation_text(enum situation situation) {
    static const char *const texts[] = {
#define SITUATION_TEXT(name, text) text,
        SITUATIONS(SITUATION_TEXT)
#undef SITUATION_TEXT
    };
    return texts[situation];
}

void tally_add(struct tally *to, const struct tally *from) {
    for (unsigned i = 0; i < SITUATION_COUNT; i++)
        to->counts[i] += from->counts[i];
}
