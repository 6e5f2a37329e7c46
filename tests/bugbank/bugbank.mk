# make bugbank: plants each known bug of tests/bugbank and shows which test catches it. ONLY='NAME ...' names patches;
# BUGBANK_ARGS: --all, --again, --since COMMIT (tests/bugbank/run).

bugbank: test-deps
	$(call deps,$(BUGBANK_PACKAGES))
	@tests/bugbank/run $(BUGBANK_ARGS) $(ONLY)

.PHONY: bugbank
