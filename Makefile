# A thin layer over the CMake presets (CMakePresets.json); bare "make" lists the targets.

JOBS ?= $(shell nproc)
FUZZ_RUNS ?= 5000
PREFIX ?= /usr/local
DESTDIR ?=
DEMO_MODEL ?= models/demo
DEMO_SCAN ?= tests/data/ts_ct/example_ct.nii.gz
BENCH_MODEL ?= build/models/biomedclip-qwen2.5-0.5b

TOMO = build/release/cli/tomo
C_FILES = $(shell find $(wildcard src cli include tests bench examples) -name '*.[ch]' -o -name '*.cc')
configure_and_build = cmake --preset $(1) && cmake --build --preset $(1) -j $(JOBS)

.PHONY: help demo demo-model test parity bench check check-long check-asan check-tsan check-fuzz study study-quick build \
	deps deps-test format format-check install clean

help:
	@echo 'make demo          install what is missing, build, and read a phantom and a real CT with the demo model'
	@echo 'make build         install what is missing and build build/release/cli/tomo'
	@echo 'make test          install what is missing, build, and run every test'
	@echo 'make parity        only the comparison with the recorded outputs of the Python libraries'
	@echo 'make check         sanitizers and fuzzing: address, undefined behaviour, threads, hostile input'
	@echo 'make check-long    a training run killed twenty times'
	@echo 'make bench         measure speed and memory at the sizes of real models'
	@echo 'make study         the data-efficiency study, piece by piece, in about ten hours (study-quick: in minutes)'
	@echo 'make demo-model    make models/demo from nothing, in about three hours'
	@echo 'make format        lay out the sources with clang-format (format-check: only compare)'
	@echo 'make install       install command, library, header and pkg-config file (PREFIX, DESTDIR)'
	@echo 'make clean         remove the build folder'
	@echo
	@echo 'TOMO_REFERENCE=DIR, TOMO_DATA=DIR and STRICT=1 steer the tests: docs/testing.md'

deps:
	@scripts/install-deps.sh build

deps-test:
	@scripts/install-deps.sh test

build: deps
	$(call configure_and_build,release)

demo: build
	@python3 scripts/demo.py $(TOMO) $(DEMO_MODEL) $(DEMO_SCAN) build/demo/phantom

test: deps-test
	@JOBS=$(JOBS) FUZZ_RUNS=$(FUZZ_RUNS) scripts/test.sh

parity: build
	scripts/ctest.sh release -L parity -j $(JOBS)

bench: build
	@test -d $(BENCH_MODEL) || { mkdir -p $(dir $(BENCH_MODEL)) && \
		$(TOMO) model new $(BENCH_MODEL) --like biomedclip,qwen2.5-0.5b; }
	$(TOMO) bench --model $(BENCH_MODEL)

check: check-asan check-tsan check-fuzz

# What takes too long for every day: a run that is killed twenty times ends as one that is not.
check-long: build
	python3 tests/outside/check_train.py build/release/cli/tomo tests/reference --only kills --kills 20

check-asan: deps-test
	$(call configure_and_build,asan)
	scripts/ctest.sh asan -j $(JOBS)

# Unit and parity tests; those of the command start other processes, which the sanitizer does not follow.
check-tsan: deps-test
	$(call configure_and_build,tsan)
	scripts/ctest.sh tsan -L "unit|parity" -j $(JOBS)

check-fuzz: deps-test
	$(call configure_and_build,fuzz)
	scripts/fuzz.sh build/fuzz $(FUZZ_RUNS)

# What stopped goes on; study/README.md tells how to do a part of it. STUDY="--limit-minutes 60 --commit"
study: build
	python3 study/study.py study/plan.json $(STUDY)
	python3 study/report.py

study-quick: build
	python3 tests/outside/check_study.py $(TOMO)

demo-model: build
	python3 study/study.py study/demo.json $(STUDY)
	python3 study/report.py

format:
	clang-format -i $(C_FILES)

format-check:
	clang-format --dry-run --Werror $(C_FILES)

# The pkg-config file names the prefix, so it is configured with it.
install: deps
	cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --build --preset release -j $(JOBS)
	DESTDIR=$(DESTDIR) cmake --install build/release

clean:
	rm -rf build
