# Every target first creates .venv from constraints.txt if it is missing.
PYTHON ?= python3
BIN := .venv/bin
# One worker per core with one thread each: two threads per worker were slower.
# Compiled modules are kept, because many tests start a process.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 \
	--dist loadfile --no-loadscope-reorder

.PHONY: help demo real servers claims claims-quick gpu-check check format test test-slow test-all test-nightly test-gpu bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Python compiles what is imported: to compile all of the libraries takes two minutes.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev,slurm,ray,agents]'
	@touch $@

demo: .venv/.installed ## fine-tune the embedded base with LoRA and print the table (two minutes)
	$(BIN)/python train.py

# 40 questions of BFCL whose answer is a call, and 20 without a fitting tool; fewer with ROWS=N, shorter answers with TOKENS=N, fewer steps with STEPS=N.
REAL_EVAL = eval=bfcl_sample 'eval.benchmark_rows={bfcl_simple_python:40,bfcl_irrelevance:20}' \
	eval.splits=[test] eval.max_new_tokens=$(or $(TOKENS),128) eval.limit=$(or $(ROWS),60) eval.loss_rows=$(or $(ROWS),60)
REAL_DATA = $(if $(DATA),data=jsonl 'data.path=$(DATA)' data.test_share=0.2 data.validation_share=0.1 trainer.num_train_epochs=3,data=tool_calls data.train_rows=480)

real: .venv/.installed ## fine-tune a real model (SmolLM2-135M) and score 60 questions of BFCL; DATA=FILE.jsonl for your rows
	@$(BIN)/python -c 'from importlib.metadata import version; version("bfcl-eval")' 2>/dev/null || \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps bfcl-eval==2026.3.23
	$(BIN)/python train.py model=smollm2_135m_q4 lora=all_linear $(REAL_DATA) $(REAL_EVAL) \
		$(if $(STEPS),trainer.max_steps=$(STEPS))

claims: .venv/.installed ## execute the runs of all claims and print the verdicts; rerun to resume
	$(BIN)/python -m experiments claims --run --write

claims-quick: .venv/.installed ## the same for three claims that share a sweep (about 75 runs)
	$(BIN)/python -m experiments claims lora_equals_full ten_times_the_rate rate_independent_of_rank --run

gpu-check: .venv/.installed ## measure this machine's GPU in at most 8 minutes; rerun to resume
	$(BIN)/python -m experiments gpu-check

servers: .venv/.installed ## build the MCP servers of agents, start each and print its tools
	$(BIN)/python -m experiments servers --build

check: .venv/.installed ## check format, lint, import order and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: .venv/.installed ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: .venv/.installed ## run the fast tests
	$(PYTEST) -m "not slow and not nightly and not gpu and not network"

test-slow: .venv/.installed ## run the slow tests: real files, whole runs, the numbers in the README
	$(PYTEST) -m "slow and not nightly and not gpu and not network"

test-all: .venv/.installed ## run the fast and the slow tests in one go, as .ci/run does
	$(PYTEST) --durations=40 --durations-min=5 -m "not nightly and not gpu and not network"

test-nightly: .venv/.installed ## run the tests that .ci/run leaves out, and those of random kills with more kills
	EXPERIMENTS_KILLS=20 $(PYTEST) -m "nightly or random_kills"

test-gpu: .venv/.installed ## run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu tests/gpu

bench: .venv/.installed ## print benchmark ratios against a simple alternative
	$(BIN)/python -m pytest -o addopts="" tests/benchmarks -m "not gpu" -s

clean: ## remove the environment and caches, but no runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build
