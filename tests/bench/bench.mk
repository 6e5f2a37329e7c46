# make bench: every goal that can be measured here, medians of interleaved rounds. make bench-deps: the contenders.
# ROUNDS, SECONDS, KEYS, KVNODE and BENCH_ARGS (--only P1, --record) reach the driver.

$(BUILD)/tests/bench/evhttp: LIBS += -levent

bench: bench-programs
	BUILD=$(BUILD) tests/bench/run $(BENCH_ARGS)

bench-deps:
	tests/bench/deps

# An hour, and root.
bench-loss:
	tests/bench/loss

.PHONY: bench bench-deps bench-loss
