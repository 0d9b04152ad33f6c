# Two commands: `make demo` shows the main job end to end, `make test` checks everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where the CPU build of torch lives; empty on a machine with a mirror of its own.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/pip --quiet --disable-pip-version-check
SOURCES := pyproject.toml constraints.txt $(shell find unetq/native -type f)

.PHONY: demo test lint format clean
demo: $(VENV)/train
	BIN=$(BIN) bash scripts/demo.sh

test: $(VENV)/dev lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# app/ and data_prep/ are unetq.app and unetq.data_prep once installed: the checkers see the tree as a user has it.
lint: $(VENV)/dev
	rm -rf build/tree && mkdir -p build/tree && cp -r unetq build/tree/ && cp -r app data_prep build/tree/unetq/
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'unetq/native/*.cc' 'unetq/native/*.h')
	$(BIN)/cmake -S unetq/native -B build/tidy -DUNETQ_RUN=ON -DPYTHON_EXECUTABLE=$(abspath $(BIN))/python \
	  -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) >build/tidy.log || { cat build/tidy.log; exit 1; }
	git ls-files 'unetq/native/kernels/*.cc' 'unetq/native/src/*.cc' 'unetq/native/tools/*.cc' | grep -v kernels/arm/ | xargs -P 2 -n 4 $(BIN)/clang-tidy --quiet -p build/tidy
	$(BIN)/python scripts/check_style.py
	cd build/tree && $(abspath $(BIN))/mypy --config-file $(abspath pyproject.toml) -p unetq
	cd build/tree && $(abspath $(BIN))/lint-imports --config $(abspath pyproject.toml)

format: $(VENV)/dev
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'unetq/native/*.cc' 'unetq/native/*.h')

clean:
	rm -rf build $(VENV)

$(VENV)/torch:
	$(PYTHON) -c 'import sys; sys.exit("unetq needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch $(if $(TORCH_INDEX),--retries 1 --extra-index-url $(TORCH_INDEX))
	touch $@

$(VENV)/train: $(VENV)/torch $(SOURCES)
	$(PIP) install -c constraints.txt -e '.[train,app]'
	touch $@

$(VENV)/dev: $(VENV)/train
	$(PIP) install -c constraints.txt -e '.[train,app,dicom,cluster,peers,dev]' -C cmake.define.UNETQ_WERROR=ON
	touch $@
