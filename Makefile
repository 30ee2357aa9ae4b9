# make demo        set-up, then train, test and report on synthetic faces (about 13 minutes on two cores)
# make experiment  the same at length, resumable
# make small       after it, the small network that ships with the package
# make test        set-up, then the tests
# make kills       a small training killed 30 times at random moments and resumed
# VENV=path        an environment of yours instead of .venv; it gets this project installed

VENV ?= .venv
PYTHON ?= python3.11
STAMP := $(VENV)/.refstar-$(shell cksum setup.py pyproject.toml | cksum | cut -d' ' -f1)

.PHONY: setup demo experiment small test kills lint format clean

setup: $(STAMP)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -e '.[dev]'
	touch $@

demo: setup
	$(VENV)/bin/refstar demo

experiment: setup
	$(VENV)/bin/refstar demo --length experiment

small: experiment
	$(VENV)/bin/basicsr train -opt options/train/refstar_small_128.yml --auto_resume
	$(VENV)/bin/basicsr test -opt options/test/refstar_small_128.yml
	$(VENV)/bin/refstar convert experiments/refstar_small_128/models/net_g_latest.pth --ema --fp16 \
	  refstar_arch/pretrained/refstar_small_128.safetensors

test: setup
	$(VENV)/bin/python -m pytest -n auto --dist loadfile

kills: setup
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(VENV)/bin/python -m helpers.kill_resume --kills 30

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
