# kvsim-tiny: the simulator and all that it drives, with the bounds of tests/sim/tiny.h. make tiny: TINY_SEEDS seeds of it,
# which must meet each of them.

TINY       := $(BUILD)/tiny
KVSIM_TINY := $(TINY)/kvsim-tiny
TINY_FLAGS := $(patsubst -O3,-O2,$(filter-out -flto% -ffat-lto-objects,$(CFLAGS))) -include tests/sim/tiny.h
TINY_OBJ   := $(patsubst %.c,$(TINY)/%.o,$(CORE_SRC) $(SIM_SRC) tests/sim/kvsim.c)

$(TINY)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  tiny  $<'
	@$(CC) $(TINY_FLAGS) $(WARN) $(DEFS) -MMD -MP -c -o $@ $<

$(KVSIM_TINY): $(TINY_OBJ)
	@echo '  link  $@'
	@$(CC) $(TINY_FLAGS) -o $@ $^ $(LIBS)

kvsim-tiny: $(KVSIM_TINY)
TINY_SEEDS ?= 150
tiny: kvsim-tiny
	$(KVSIM_TINY) --mixed --seeds $(TINY_SEEDS) --floors

.PHONY: kvsim-tiny tiny
