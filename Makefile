# Two commands on a fresh machine: make demo, make test. Each does all its set-up.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without this the checkout's root is on sys.path, and `import validators` would be ours instead of somebody else's.
export PYTHONSAFEPATH := 1
# Twice the cores of a small machine: tests of a server mostly wait. A module's tests stay in one process.
PARALLEL ?= -n 4 --dist loadscope --no-loadscope-reorder

.PHONY: help setup demo test test-native test-nvforest cuda faults fuzz fuzz-coverage fuzz-models lint typecheck-tensorrt gpu-bundle format \
	bench triton clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# The kernel's libraries are built when the package is installed, so it is installed again when their sources change.
KERNEL := setup.py compile/kernel/build.py $(wildcard compile/kernel/*.cpp compile/kernel/*.h compile/kernel/cpu/* \
	compile/kernel/cuda/*.cpp compile/kernel/cuda/*.h compile/kernel/triton/*)
# What clang-format formats: all C, C++ and CUDA.
C_FOLDERS := compile/kernel compile/kernel/* benchmarks tests/native
C_SOURCES := $(wildcard $(foreach folder,$(C_FOLDERS),$(addprefix $(folder)/*.,c cpp h cu)))

$(VENV)/.done: pyproject.toml constraints.txt $(KERNEL)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[cpu,report,torch,precision,catboost,treelite,object-store,signing,demo,dev]'
	touch $@

setup: $(VENV)/.done ## Make .venv with the package and everything that demo and test use

demo: setup ## Flights: train, optimize, serve on a real Triton, ask it by gRPC
	$(BIN)/python examples/flights.py

test: lint ## Everything: lint, types, all tests (a real Triton among them)
	$(BIN)/pytest $(PARALLEL)

# The kernel under AddressSanitizer and UndefinedBehaviorSanitizer: its tests, then files that are changed at random.
SANITIZED := build/sanitized
MUTATIONS ?= 1000000
UNDER_SANITIZERS := MILLWORK_TEST_KERNEL=$(CURDIR)/$(SANITIZED)/libmillwork_kernel.so ASAN_OPTIONS=detect_leaks=0 \
	LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libubsan.so)"

test-native: setup ## The kernel under sanitizers: its tests, and a million damaged files (5 minutes)
	mkdir -p $(SANITIZED)
	$(BIN)/python compile/kernel/build.py $(SANITIZED) --sanitize --with-fuzzer tests/native/fuzz.cpp
	$(UNDER_SANITIZERS) $(BIN)/pytest -q tests/compile/test_native.py -p no:cacheprovider
	$(UNDER_SANITIZERS) $(BIN)/pytest -q tests/compile/cuda/test_kernel.py -k 'not barrier' -p no:cacheprovider
	$(UNDER_SANITIZERS) $(BIN)/pytest -q tests/compile/cuda/test_host.py -k readers -p no:cacheprovider
	$(BIN)/python tests/native/corpus.py $(SANITIZED)/corpus
	$(SANITIZED)/fuzz $(SANITIZED)/corpus $$(( $(MUTATIONS) / 2 )) 1 & first=$$!; \
	$(SANITIZED)/fuzz $(SANITIZED)/corpus $$(( $(MUTATIONS) / 2 )) 2 && wait $$first

cuda: setup ## Compile the CUDA kernel by nvcc for sm_75 to sm_90, and keep what each kernel takes (1 minute, no GPU)
	$(BIN)/python compile/kernel/build_cuda.py --table benchmarks/results/cuda.json

# Such as STORM='--storms store --seed 7 --publications 50 --kills 20': tests/artifacts/storms/campaign.py --help.
STORM ?=
faults: setup ## Publishers that die at every system call, then storms of them beside a real Triton (25 minutes)
	MILLWORK_TEST_FAULTS=every nice $(BIN)/pytest -q tests/artifacts/test_publish_system_calls.py
	$(BIN)/python -W ignore tests/artifacts/storms/campaign.py $(STORM)

MUTANTS ?= 10000
fuzz: setup ## Damaged files, 10,000 of each format, through the readers and the engines behind them (10 minutes)
	nice $(BIN)/python tests/fuzz/campaign.py --mutants $(MUTANTS)

EXECUTIONS ?= 1000000
fuzz-coverage: setup ## Our own parsers under atheris: a million inputs that look for new lines of them
	$(BIN)/pip install --quiet --disable-pip-version-check atheris==3.0.0
	nice $(BIN)/python tests/fuzz/coverage_guided.py all $(EXECUTIONS)

CASES ?= 300
SEED ?= 0
fuzz-models: setup ## Random models through the whole job, and rows that training never saw (300 cases, 1 hour)
	nice $(BIN)/python -W ignore tests/random_models/campaign.py --cases $(CASES) --begin $(SEED)

lint: setup ## ruff, clang-format and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)
	$(BIN)/mypy

typecheck-tensorrt: setup ## Hold our TensorRT code against the real bindings of 11 and 10 (a download of 3 MB)
	$(BIN)/python tests/typing/check_tensorrt.py build/typecheck-tensorrt

test-nvforest: setup ## nvForest's own CPU engine through the gate (a download of 60 MB; it needs no GPU, and no cupy)
	$(BIN)/pip install --quiet --no-deps --only-binary :all: nvforest-cu13==26.10.0 libnvforest-cu13==26.10.0 \
		pylibraft-cu13==26.10.0 libraft-cu13==26.10.0 rmm-cu13==26.10.0 librmm-cu13==26.10.0 rapids-logger==0.3.0 \
		'cuda-bindings>=13.0.1,<14' 'cuda-pathfinder>=1.3,<2'
	$(BIN)/pytest -q tests/compile/test_fil_cuda.py

GPU_BUNDLE ?= build/gpu-bundle
gpu-bundle: setup ## What a bare GPU machine lacks, in bundles of 60 MiB: source, models, wheels (a download of 230 MB)
	rm -rf build/gpu-models
	$(BIN)/python -W ignore benchmarks/gpu/make_models.py build/gpu-models $(MODEL_OPTIONS)
	$(BIN)/python benchmarks/gpu/bundle.py $(GPU_BUNDLE) --models build/gpu-models $(BUNDLE_OPTIONS)

format: setup ## Let ruff fix what it can, and ruff and clang-format format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)

bench: setup ## Time the candidates side by side on the demo's model
	$(BIN)/python benchmarks/candidates.py

triton: setup ## Install the managed Triton
	$(BIN)/millwork triton install

clean: ## Remove what was made here (not the managed environments in the user's cache folder)
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .millwork demo-out
	find . -name __pycache__ -type d -prune -exec rm -rf {} + ; find . -maxdepth 2 -name '*.egg-info' -exec rm -rf {} +
