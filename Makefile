# kvnode. `make run` and `make test` are the two to know; `make help` lists the rest.

CC      ?= cc
BUILD   ?= build
CFLAGS  ?= -O2 -g
WARN    := -std=c17 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
DEFS    := -D_GNU_SOURCE -I.
LIBS    := -levent_core -lcjson -lbsd -lpthread
FOLDERS := storage cluster discovery sharding replication api

CORE_SRC  := $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c)) $(wildcard cmd/node*.c)
UNIT_SRC  := $(wildcard tests/unit/*/*.c)
SIM_SRC   := $(wildcard tests/sim/disk*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)

CORE_OBJ  := $(CORE_SRC:%.c=$(BUILD)/%.o)
SIM_OBJ   := $(SIM_SRC:%.c=$(BUILD)/%.o)
LIB       := $(BUILD)/libkvnode.a
UNIT      := $(UNIT_SRC:%.c=$(BUILD)/%.t)
BENCH     := $(BENCH_SRC:%.c=$(BUILD)/%)

all: $(LIB)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARN) $(DEFS) -MMD -MP -c -o $@ $<

$(LIB): $(CORE_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/%.t: $(BUILD)/%.o $(SIM_OBJ) $(LIB)
	$(CC) $(CFLAGS) -o $@ $< $(SIM_OBJ) $(LIB) $(LIBS)

$(BENCH): $(BUILD)/%: $(BUILD)/%.o $(LIB)
	$(CC) $(CFLAGS) -o $@ $< $(LIB) $(LIBS) -lm

unit: $(UNIT)
	prove $(UNIT)

bench-programs: $(BENCH)

clean:
	rm -rf build kvnode kvctl

.PHONY: all unit bench-programs clean
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
