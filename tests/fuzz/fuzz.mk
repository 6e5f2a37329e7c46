# make fuzz: every target for FUZZ_SECONDS each (FUZZ_TARGETS names them), from the kept corpus on; what they find is left
# in build/fuzz/. make fuzz-smoke: the kept corpus and 2,000 more inputs each. make fuzz-keep: of what runs have added, the
# 16 small inputs of each target that reach the most go into the kept corpus, as grown-*.
# A finding is run again with build/fuzz/NAME FILE.

FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= $(patsubst tests/fuzz/%.c,%,$(filter-out tests/fuzz/checksum.c,$(wildcard tests/fuzz/*.c)))
FUZZ_CC      ?= clang
FUZZ_BUILD   := $(BUILD)/fuzz
FUZZ_FLAGS   := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_SRC     := $(filter-out storage/crc32c.c storage/digest.c,$(CORE_SRC)) tests/fuzz/checksum.c
FUZZ_OBJ     := $(FUZZ_SRC:%.c=$(FUZZ_BUILD)/o/%.o)
FUZZ_MAX     := -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1

$(FUZZ_BUILD)/o/%.o: %.c
	@mkdir -p $(@D)
	@echo '  fuzz  $<'
	@$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link $(WARN) $(DEFS) -MMD -MP -c -o $@ $<

$(FUZZ_BUILD)/libkvnode.a: $(FUZZ_OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(FUZZ_TARGETS:%=$(FUZZ_BUILD)/%): $(FUZZ_BUILD)/%: $(FUZZ_BUILD)/o/tests/fuzz/%.o $(FUZZ_BUILD)/libkvnode.a
	@echo '  link  $@'
	@$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ -lcjson -lbsd

fuzz_dict = $(addprefix -dict=,$(wildcard tests/fuzz/$(1).dict))

fuzz-programs: $(FUZZ_TARGETS:%=$(FUZZ_BUILD)/%)

fuzz: $(FUZZ_TARGETS:%=fuzz-%)
$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: $(FUZZ_BUILD)/%
	@mkdir -p $(FUZZ_BUILD)/corpus/$*
	@echo "fuzz $* for $(FUZZ_SECONDS) s"
	@$< $(FUZZ_MAX) $(call fuzz_dict,$*) -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(FUZZ_BUILD)/$*- \
	  $(FUZZ_BUILD)/corpus/$* tests/fuzz/corpus/$* >$(FUZZ_BUILD)/$*.log 2>&1 \
	  && grep -a number_of_executed_units $(FUZZ_BUILD)/$*.log || { tail -40 $(FUZZ_BUILD)/$*.log; exit 1; }

ifeq ($(shell command -v $(FUZZ_CC)),)
fuzz-smoke:
	@echo 'fuzz-smoke: skipped, there is no $(FUZZ_CC)'; test -z "$$KVNODE_CI"
else
fuzz-smoke: $(FUZZ_TARGETS:%=$(FUZZ_BUILD)/%)
	@for t in $(FUZZ_TARGETS); do rm -rf $(FUZZ_BUILD)/smoke; mkdir $(FUZZ_BUILD)/smoke; \
	  $(FUZZ_BUILD)/$$t $(FUZZ_MAX) -seed=1 -runs=2000 -artifact_prefix=$(FUZZ_BUILD)/$$t- $(FUZZ_BUILD)/smoke \
	    tests/fuzz/corpus/$$t \
	    >$(FUZZ_BUILD)/$$t.log 2>&1 && echo "fuzz $$t: ok" || { tail -40 $(FUZZ_BUILD)/$$t.log; exit 1; }; done
endif

fuzz-keep:
	@for t in $(FUZZ_TARGETS); do \
	  rm -rf $(FUZZ_BUILD)/kept/$$t; mkdir -p $(FUZZ_BUILD)/kept/$$t $(FUZZ_BUILD)/corpus/$$t; \
	  $(FUZZ_BUILD)/$$t -set_cover_merge=1 $(FUZZ_BUILD)/kept/$$t tests/fuzz/corpus/$$t $(FUZZ_BUILD)/corpus/$$t \
	    >$(FUZZ_BUILD)/$$t.log 2>&1 || exit 1; \
	  for f in $$(cd $(FUZZ_BUILD)/kept/$$t && find . -size -2k -printf '%T@ %f\n' | sort -n | cut -d' ' -f2 | \
	    grep -v '^\.$$' | head -16); do \
	    cp $(FUZZ_BUILD)/kept/$$t/$$f tests/fuzz/corpus/$$t/grown-$$(echo $$f | cut -c1-8); done; done

.PHONY: fuzz fuzz-programs fuzz-smoke fuzz-keep $(FUZZ_TARGETS:%=fuzz-%)
