# kvnode. `make run` and `make test` are the two to know; `make help` lists the rest.

CC      ?= cc
BUILD   ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O3 -g $(LTO)
# Objects hold both kinds of code: kvnode and kvctl are optimized across files, the many test programs linked at once.
# CFLAGS given by hand replace all of this: they are without LTO unless they name it, as CFLAGS='-O2 $(LTO)' does.
LTO     := $(shell echo 'int x;' | $(CC) -Werror -flto=auto -ffat-lto-objects -x c -c -o /dev/null - 2>/dev/null && \
             echo -flto=auto -ffat-lto-objects)
NO_LTO  := $(if $(LTO),-fno-lto)
WARN    := -std=c17 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
DEFS    := -D_GNU_SOURCE -I.
LIBS    := -levent_core -lcjson -lbsd -lpthread
PROVE   ?= prove --timer -j2

# Everything that the targets below need, for Debian: to build, to try it, to test, to lint.
PACKAGES      := $(if $(shell command -v $(firstword $(CC))),,gcc) libc6-dev libevent-dev libcjson-dev libbsd-dev
TEST_PACKAGES := perl curl iproute2 nftables mount e2fsprogs
BUGBANK_PACKAGES := patch git
LINT_PACKAGES := git clang clang-format clang-tidy cppcheck libclang-rt-14-dev

# By wildcard: a folder's .c files are its parts, and a new one needs no line here. What git does not know shows in
# `git status`; of the cores' library only what is called is linked. cmd/ holds the last core, node, and two programs.
FOLDERS    := storage cluster discovery sharding replication api
KVCTL_SRC  := $(wildcard cmd/kvctl*.c)
KVNODE_SRC := $(filter-out $(KVCTL_SRC),$(wildcard cmd/*_io.c))
CORE_SRC   := $(wildcard $(FOLDERS:%=%/*.c)) $(filter-out $(KVNODE_SRC) $(KVCTL_SRC),$(wildcard cmd/*.c))
UNIT_SRC   := $(wildcard tests/unit/*/*.c)
SIM_SRC    := $(filter-out tests/sim/kvsim.c tests/check/judge.c,$(wildcard tests/sim/*.c tests/check/*.c))
BENCH_SRC  := $(wildcard tests/bench/*.c)

CORE_OBJ  := $(CORE_SRC:%.c=$(BUILD)/%.o)
SIM_OBJ   := $(SIM_SRC:%.c=$(BUILD)/%.o)
LIB       := $(BUILD)/libkvnode.a
SIM_LIB   := $(BUILD)/libsim.a
UNIT      := $(UNIT_SRC:%.c=$(BUILD)/%.t)
BENCH     := $(BENCH_SRC:%.c=$(BUILD)/%)
KVSIM     := $(BUILD)/tests/sim/kvsim
JUDGE     := $(BUILD)/tests/check/judge
E2E       := $(wildcard tests/e2e/*.t tests/nemesis/*.t)
E2E_DISK  := $(BUILD)/tests/e2e/disk.so
E2E_PLANT := $(BUILD)/tests/e2e/plant

all: kvnode kvctl

help:
	@echo 'make run           install what is missing, build, run a group of three until Ctrl-C'
	@echo 'make test          install what is missing, build, run every test'
	@echo 'make               build ./kvnode and ./kvctl'
	@echo 'make run-cluster   the group of three in the background; make stop-cluster ends it'
	@echo 'make api-examples  most routes, with curl, against the running group'
	@echo 'make unit, e2e     parts of the tests, as is make tiny; make sanitize: all under ASan and UBSan'
	@echo 'make bootstrap     100 starts at each of eight gaps with -leader on every node; all must end as one group'
	@echo 'make soak          the simulator over fresh seeds, for MINUTES=10; make fresh-seeds: SEEDS=600 of the commit'
	@echo 'make damage        each byte of a node'"'"'s files flipped, each length cut, pages, sectors and files lost'
	@echo 'make scenarios     new expected traces'
	@echo 'make bench         measure against ceilings and peers; make bench-deps installs those'
	@echo 'make bench-paired  the same, and another commit (BASE_REV=) in every round'
	@echo 'make nemesis       real nodes under faults, for MINUTES=10; their histories judged'
	@echo 'make bugbank       plant known bugs one by one, and show which test catches each'
	@echo 'make lint, fmt     check and lay out the sources; make test-coverage: lines run by the tests'
	@echo 'make install       into PREFIX (/usr/local)'
	@echo 'make deps          only install; make clean'

kvnode: $(BUILD)/kvnode
	@cp -f $< $@
kvctl: $(BUILD)/kvctl
	@cp -f $< $@

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  cc    $<'
	@$(CC) $(CFLAGS) $(WARN) $(DEFS) -MMD -MP -c -o $@ $<

$(LIB): $(CORE_OBJ)
$(SIM_LIB): $(SIM_OBJ)
$(LIB) $(SIM_LIB):
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/kvnode: $(KVNODE_SRC:%.c=$(BUILD)/%.o) $(LIB)
	@echo '  link  $@'
	@$(CC) $(CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/kvctl: $(KVCTL_SRC:%.c=$(BUILD)/%.o) $(LIB)
	@echo '  link  $@'
	@$(CC) $(CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.t: $(BUILD)/%.o $(SIM_LIB) $(LIB)
	@echo '  link  $@'
	@$(CC) $(CFLAGS) $(NO_LTO) -o $@ $^ $(LIBS)

$(KVSIM) $(JUDGE): %: %.o $(SIM_LIB) $(LIB)
	@echo '  link  $@'
	@$(CC) $(CFLAGS) $(NO_LTO) -o $@ $^ $(LIBS)

$(E2E_PLANT): %: %.o $(LIB)
	@echo '  link  $@'
	@$(CC) $(CFLAGS) $(NO_LTO) -o $@ $^ $(LIBS)

$(BENCH): %: %.o $(LIB)
	@echo '  link  $@'
	@$(CC) $(CFLAGS) $(NO_LTO) -o $@ $^ $(LIBS) -lm

# Preloaded into kvnode: never with a sanitizer of its own.
$(E2E_DISK): tests/e2e/disk.c
	@mkdir -p $(@D)
	@echo '  link  $@'
	@$(CC) -O1 $(WARN) $(DEFS) -shared -fPIC -o $@ $<

sanitize-programs:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/sanitize CFLAGS='$(SANITIZE)' programs kvsim-tiny
programs: e2e-programs $(UNIT) $(KVSIM)
e2e-programs: $(BUILD)/kvnode $(BUILD)/kvctl $(E2E_DISK) $(E2E_PLANT) $(JUDGE)
bench-programs: kvnode $(BENCH)

# deps NAMES: what dpkg does not know as installed is installed, where that is allowed.
define deps
	@missing=''; for p in $(1); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; \
	  else echo "missing packages; run as root: apt-get install$$missing"; exit 1; fi; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef

deps:
	$(call deps,$(PACKAGES))
test-deps: deps
	$(call deps,$(TEST_PACKAGES))
lint-deps: deps
	$(call deps,$(LINT_PACKAGES))
# Everything that CI runs, so that no test is skipped there. Of Debian's prometheus only promtool: the package would also
# start a server.
PROMTOOL := build/ci/promtool
ci-deps: test-deps lint-deps $(PROMTOOL)
$(PROMTOOL):
	@mkdir -p $(@D)
	@cd $(@D) && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool.new && rm prometheus_*.deb && \
	  chmod +x promtool.new && mv promtool.new promtool

run: deps
	$(call deps,curl)
	@$(MAKE) --no-print-directory all
	@cmd/demo run
run-cluster: deps
	$(call deps,curl)
	@$(MAKE) --no-print-directory all
	@cmd/demo start
stop-cluster:
	@cmd/demo stop
api-examples:
	@cmd/demo examples

test: test-deps
	@$(MAKE) --no-print-directory programs kvsim-tiny
	BUILD=$(BUILD) $(PROVE) $(UNIT) $(E2E)
	@$(MAKE) --no-print-directory tiny
unit: $(UNIT)
	$(PROVE) $(UNIT)
e2e: e2e-programs
	BUILD=$(BUILD) $(PROVE) $(E2E)
# 100 starts at each of eight gaps, with -leader on every node.
bootstrap: e2e-programs
	ROUNDS=25 BUILD=$(BUILD) $(PROVE) tests/e2e/bootstrap.t
# Writes the traces that tests/scenarios expect anew; read the diff.
scenarios: $(BUILD)/tests/unit/replication/scenarios.t $(BUILD)/tests/unit/sim/sim.t
	for t in $^; do UPDATE_SCENARIOS=1 $$t; done
# Seeds that nobody has run before, over all modes: by the clock for so long, and by the commit. A seed that fails
# prints its command, and joins tests/sim/corpus.
MINUTES ?= 10
# One node of three, and a sole one; STEP bytes apart.
STEP ?= 1
damage: $(BUILD)/tests/unit/sim/damage.t
	DAMAGE_STEP=$(STEP) DAMAGE_JOBS=$$(nproc) $<
soak: $(KVSIM) kvsim-tiny
	$(KVSIM) --corpus tests/sim/corpus/seeds
	$(KVSIM) --mixed --minutes $(MINUTES) --seed $$(($$(date +%s) * 100000))
	$(KVSIM_TINY) --mixed --seeds 1000 --floors --seed $$(($$(date +%s) * 100000))
SEEDS ?= 600
fresh-seeds: $(KVSIM)
	$(KVSIM) --mixed --seeds $(SEEDS) --floors --seed $$((0x$$(git rev-parse HEAD | cut -c1-14)))

SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
sanitize: test-deps
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/sanitize CFLAGS='$(SANITIZE)' test

test-coverage: test-deps
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/coverage CFLAGS='-O0 -g --coverage' test
	@cd $(BUILD)/coverage && find $(FOLDERS) cmd -name '*.gcda' | \
	  xargs gcov -n 2>/dev/null | awk '/^File/ {f=$$2} /^Lines/ && f !~ /usr/ {print $$2, f}' | sort -u

FORMATTED = $(shell git ls-files '*.c' '*.h')
fmt:
	clang-format -i $(FORMATTED)
lint: lint-deps
	clang-format --dry-run -Werror $(FORMATTED)
	cppcheck --quiet --std=c11 --language=c --inline-suppr --error-exitcode=1 \
	  --enable=warning,performance,portability --suppress=missingIncludeSystem \
	  --suppress=uninitvar --suppress=ctuuninitvar -D_GNU_SOURCE -I. \
	  --include=/usr/include/bsd/sys/queue.h --include=/usr/include/bsd/sys/tree.h $(FOLDERS) cmd
	$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/clang programs

install: all
	install -D -m 755 kvnode $(DESTDIR)$(PREFIX)/bin/kvnode
	install -D -m 755 kvctl $(DESTDIR)$(PREFIX)/bin/kvctl
	install -D -m 644 cmd/kvctl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kvctl

clean:
	rm -rf build kvnode kvctl

.PHONY: all damage help programs e2e-programs bench-programs deps test-deps lint-deps ci-deps run run-cluster stop-cluster api-examples test \
  unit e2e bootstrap scenarios soak fresh-seeds sanitize test-coverage fmt lint install clean
.SECONDARY:
-include $(wildcard tests/*/*.mk)
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
