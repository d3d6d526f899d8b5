# Needs Python 3.11 or later and make; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= demo
SEED ?= 0

.PHONY: demo install test check format results test-containers clean

demo: $(VENV)/.ready
	$(BIN)/selfsyn demo --run $(RUN) --seed $(SEED)

install: $(VENV)/.ready

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist loadfile

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Prints the commands of benchmarks/RESULTS.md by table; R, CAMVID and the like are folders of yours.
results:
	@awk '/^## /{table=$$0} /^```$$/{inside=0} inside{print} /^```sh$$/{inside=1; print "\n" table}' benchmarks/RESULTS.md

# Builds the three images and runs a tiny round in them: needs Docker with BuildKit, and some minutes. No part of CI.
test-containers: $(VENV)/.ready
	docker/test.sh

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

# --no-compile: only what is imported is compiled, on first use; installing the CUDA libraries is long enough.
# --no-deps: the lock names everything.
$(VENV)/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is `$(PYTHON) --version`; expected Python 3.11 or later; use make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@
