# make demo: install, sample data, shards, a short training, its report; make demo-audio: the same of sounds.
# make test: the tests.
# make check: format, lint, types, tests.   make bench: side-by-side measurements, with the peers in .venv-peers.
# make verify: the long proofs.   make gpu: tests and speed on a CUDA device.
PYTHON ?= python3
BIN := .venv/bin
PEERS := .venv-peers/bin
DEMO_FLAGS ?= --steps 800 --levels both
DEMO_AUDIO_FLAGS ?= --steps 400 --clip-seconds 1

.PHONY: demo demo-audio test check lint bench verify gpu clean

.venv/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dirvae needs Python 3.11 or newer; this is %s. Name another one: make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv

.venv/installed-train: .venv/pyvenv.cfg setup.cfg pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

.venv/installed-dev: .venv/pyvenv.cfg setup.cfg pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ .venv/installed-train .venv/installed-audio

.venv/installed-audio: .venv/pyvenv.cfg setup.cfg pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,audio]'
	touch $@ .venv/installed-train

.venv/installed-verify: .venv/installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[verify]'
	touch $@

demo: .venv/installed-train
	@if [ -z "$$(find -L data/image -type f ! -name '.*' 2>/dev/null | head -n 1)" ]; then \
		echo "data/image is empty: making sample pictures there."; \
		$(BIN)/python tools/make_sample_data.py; \
	fi
	$(BIN)/python tools/make_shards.py data/image
	$(BIN)/python -m dirvae.train --shards $(DEMO_FLAGS)

demo-audio: .venv/installed-audio
	@if [ -z "$$(find -L data/audio -type f ! -name '.*' 2>/dev/null | head -n 1)" ]; then \
		echo "data/audio is empty: making sample sounds there."; \
		$(BIN)/python tools/make_sample_data.py audio; \
	fi
	$(BIN)/python tools/make_shards.py data/audio --features f0,loudness --overwrite-features
	$(BIN)/python -m dirvae.train --shards --type audio $(DEMO_AUDIO_FLAGS)

test: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not heavy"

lint: .venv/installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

check: lint test

# The peers bring packages that do not go with those of .venv (a torchvision for another torch).
.venv-peers/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,audio,arrays,codecs,peers]'
	touch $@

bench: .venv-peers/installed .venv/installed-dev
	$(PEERS)/python benchmarks/images.py
	$(BIN)/python benchmarks/video.py
	$(BIN)/python benchmarks/ddsp.py
	$(BIN)/python benchmarks/f0.py
	$(BIN)/python benchmarks/sound/decode.py
	$(BIN)/python benchmarks/sound/stream.py --minutes 1

verify: .venv/installed-verify
	$(BIN)/python -m pytest -m heavy
	$(BIN)/python benchmarks/verify.py

gpu: .venv/installed-dev
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf .venv .venv-peers build *.egg-info
