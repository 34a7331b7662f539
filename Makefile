# make run    install, prepare the models, serve; Ctrl-C stops
# make test   the same set-up, then lint, types and all tests
# make check  lint, types and the unit tests: less than a minute
# make lowest unit and service tests with the oldest versions that pyproject.toml allows
# make lock   renew the lock files from which the image is built
# make fuzz   broken pictures and requests by the hundred thousand; some of them are in make test
# make accuracy, make identification, make ageing, make quality, make detection, make benchmark, make gallery-benchmark, make size-benchmark: figures, beside peers; see the README
# make soak   a quarter of an hour of load, while workers are killed; on a quiet machine

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Labelled faces to measure with: LFW and its pair list, FG-NET, WIDER FACE and its truth.
LFW ?= ../shared/data/lfw-dev
LFW_PAIRS ?= $(LFW)/pairsDevTest.txt
LFW_PEOPLE ?= ../shared/data/lfw-people
FGNET ?= ../shared/data/fgnet-dev
WIDER ?= ../shared/data/wider-dev
WIDER_TRUTH ?= $(WIDER)/wider_face_val_bbx_gt.txt

.PHONY: run test check lint models lowest lock fuzz accuracy identification grouping ageing quality detection benchmark gallery-benchmark size-benchmark soak clean

run: $(VENV)/.installed
	@$(BIN)/recognition serve

test: $(VENV)/.installed-dev
	$(MAKE) --jobs=2 lint models
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q tests/unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

models: $(VENV)/.installed-dev
	$(BIN)/python prepare_models.py

LOWEST := .venv-lowest
lowest: $(VENV)/.installed-dev
	$(BIN)/uv venv --quiet --clear --seed --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[test]'
	$(BIN)/python prepare_models.py
	$(LOWEST)/bin/python -m pytest -q tests/unit tests/service

# openvino does without openvino-telemetry, which reports its use to its maker.
LOCK := uv pip compile --quiet --upgrade --universal --python-version 3.12 --generate-hashes --no-annotate \
  --custom-compile-command 'make lock' --no-emit-package openvino-telemetry pyproject.toml
lock: $(VENV)/.installed-dev
	$(BIN)/$(LOCK) --output-file deploy/requirements.lock
	$(BIN)/$(LOCK) --output-file deploy/requirements-prepare.lock --extra prepare --constraint deploy/requirements.lock

fuzz: $(VENV)/.installed-dev
	$(BIN)/python prepare_models.py
	FUZZ=1 $(BIN)/python -m pytest -q tests/*/test_fuzz_*.py

accuracy: $(VENV)/.installed-dev
	@test -d $(LFW) || { echo 'name a folder of labelled faces: make accuracy LFW=DIR LFW_PAIRS=FILE'; exit 1; }
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/accuracy.py --images $(LFW) --pairs $(LFW_PAIRS) --peer deepface

identification: $(VENV)/.installed-dev
	@test -d $(LFW_PEOPLE) || { echo 'name a folder of labelled faces: make identification LFW_PEOPLE=DIR'; exit 1; }
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/identification.py --images $(LFW_PEOPLE) --poor 320 --plot docs/identification.png

grouping: $(VENV)/.installed-dev
	@test -d $(LFW_PEOPLE) || { echo 'name a folder of labelled faces: make grouping LFW_PEOPLE=DIR'; exit 1; }
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/grouping.py --images $(LFW_PEOPLE) --many 100000

ageing: $(VENV)/.installed-dev
	@test -d $(FGNET) || { echo 'name a folder of faces with ages, PPPAyy.JPG: make ageing FGNET=DIR'; exit 1; }
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/ageing.py --images $(FGNET)

quality: $(VENV)/.installed-dev
	@test -d $(LFW) || { echo 'name a folder of labelled faces: make quality LFW=DIR'; exit 1; }
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/quality.py --images $(LFW) --plot docs/quality.png

detection: $(VENV)/.installed-dev
	@test -d $(WIDER) || { echo 'name pictures and truth: make detection WIDER=DIR WIDER_TRUTH=FILE'; exit 1; }
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/detection.py --images $(WIDER) --truth $(WIDER_TRUTH) --peer mtcnn

benchmark: $(VENV)/.installed-dev
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/speed.py

gallery-benchmark: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/gallery.py

size-benchmark: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/size.py

soak: $(VENV)/.installed-dev
	$(BIN)/python prepare_models.py
	$(BIN)/python benchmarks/soak.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo 'Python 3.11, 3.12 or 3.13 is needed; name it: make PYTHON=python3.12'; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --progress-bar on -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
