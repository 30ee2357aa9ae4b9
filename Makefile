# make demo         set up, then train, test and report on synthetic faces (about 13 minutes on two cores)
# make test         set up, then run the tests (under 10 minutes on two cores)
# make test-slow    the tests of half a minute and more: ONNX export of every backbone, twenty users at once ...
# make sweep       500 generated files through `refstar restore` (5 minutes on two cores)
# make test-latest  the tests with the newest versions of everything, in an environment of its own
# make lock         write constraints.txt anew: the newest versions of everything
# make experiment   the demo at length (two hours), resumable
# make release      the network that ships, from datasets/portraits and datasets/faces: hours, resumable (options/release)
# make kills        kill a small training 30 times at random moments and resume it
# make architecture renew the drawing and the counts of docs/architecture.md
# make links        .links/refstar, for editors and tools that follow imports by folders (CONTRIBUTING.md)
# VENV=path         use this environment instead of .venv; the project is installed into it

VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
STAMP := $(VENV)/.refstar-$(shell cat setup.py pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.PHONY: setup demo experiment release test test-slow sweep test-latest lock kills architecture links lint format clean

setup: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# PIP_CONSTRAINT also holds for what builds packages from source (basicsr, gfpgan, ...).
$(STAMP): | $(BIN)/python
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/refstar demo

experiment: setup
	$(BIN)/refstar demo --length experiment

# what the stages need, so that nothing is found missing after hours
RELEASE_NEEDS := datasets/portraits/identities datasets/portraits/large datasets/faces/london_512 \
  datasets/faces/weights/squeezenet1_1_features.pth datasets/weights/realesrgan_x4plus_fp16.safetensors

release: $(RELEASE_NEEDS) setup datasets/portraits_68.npz datasets/london_68.npz options/release/refsel.pth
	$(BIN)/basicsr train -opt options/release/half.yml --auto_resume
	$(BIN)/basicsr train -opt options/release/full.yml --auto_resume
	$(BIN)/basicsr train -opt options/release/base.yml --auto_resume
	$(BIN)/refstar convert experiments/release_base/models/net_g_latest.pth --ema --fp16 \
	  refstar_arch/pretrained/refstar_512.safetensors

datasets/portraits_68.npz: | setup
	$(BIN)/python benchmarks/landmarks.py datasets/portraits/identities $@

datasets/london_68.npz: | setup
	$(BIN)/python benchmarks/landmarks.py datasets/faces/london_512 $@

options/release/refsel.pth: | setup
	$(BIN)/basicsr train -opt options/release/refsel.yml --auto_resume
	cp experiments/release_refsel/models/net_g_latest.pth $@

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: setup
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

sweep: setup
	REFSTAR_SWEEP=500 $(BIN)/python -m pytest -n auto tests/restore/test_sweep.py

test-latest:
	$(PYTHON) -m venv --clear .venv-latest
	.venv-latest/bin/python -m pip install -q -e '.[dev]'
	.venv-latest/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lock:
	$(PYTHON) -m venv --clear .venv-latest
	.venv-latest/bin/python -m pip install -q -e '.[dev]'
	{ sed -n '/^#/p' constraints.txt; .venv-latest/bin/python -m pip freeze --all --exclude pip --exclude refstar; } > constraints.new
	mv constraints.new constraints.txt

kills: setup
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m helpers.kill_resume --kills 30

architecture: setup
	PYTHONPATH=tests $(BIN)/python -m helpers.import_graph docs/architecture.md docs/images/architecture.png

links:
	rm -rf .links
	mkdir -p .links/refstar
	ln -s $(CURDIR)/refstar_arch/* .links/refstar/
	for folder in curate data evaluation losses metrics models options restore tools trainer utils; do \
	  ln -s $(CURDIR)/$$folder .links/refstar/$$folder; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .links
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
