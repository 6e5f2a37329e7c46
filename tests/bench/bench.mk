# make bench: every goal that can be measured here, medians of interleaved rounds. make bench-deps: the contenders.
# ROUNDS, SECONDS, KEYS, MILLIONS, KVNODE and BENCH_ARGS (--only P1, --record) reach the driver.
# make bench-paired BASE_REV=1b8383a: with kvnode as that commit builds it in every round.

$(BUILD)/tests/bench/evhttp: LIBS += -levent

bench: bench-programs
	BUILD=$(BUILD) tests/bench/run $(BENCH_ARGS)

BASE_TREE := build/base/$(BASE_REV)
bench-paired: bench-programs
	@test -n '$(BASE_REV)' || { echo 'which commit? make bench-paired BASE_REV=...'; exit 2; }
	@mkdir -p $(BASE_TREE) && git archive '$(BASE_REV)' | tar -x -C $(BASE_TREE)
	@$(MAKE) --no-print-directory -C $(BASE_TREE) BUILD=build kvnode
	BASE=$(BASE_TREE)/kvnode BUILD=$(BUILD) tests/bench/run $(BENCH_ARGS)

bench-deps:
	tests/bench/deps

# An hour, and root.
bench-loss:
	tests/bench/loss

.PHONY: bench bench-paired bench-deps bench-loss
