# make nemesis MINUTES=10: groups of three and of five real nodes under faults, round after round (tests/nemesis/Nemesis.pm).
# NEMESIS_SEED, NEMESIS_ACK and NEMESIS_FAULTS choose.

MINUTES ?= 10

nemesis: test-deps
	@$(MAKE) --no-print-directory e2e-programs
	NEMESIS_MINUTES=$(MINUTES) BUILD=$(BUILD) $(PROVE) -v $(wildcard tests/nemesis/*.t)

.PHONY: nemesis
