# Needs Python 3.11 or newer and make; everything else is set up on the way.
# Another Python beside it: make unit PYTHON=python3.14 VENV=build/python3.14

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
HOST ?= 127.0.0.1
PORT ?= 8000
# most tests wait most of the time, so there are more of these than cores
WORKERS ?= 4
ALONE := not kafka and not faults and not long and not browser
ON_KAFKA := kafka and not faults and not long and not servers and not browser
KAFKAS ?= 3.3.2 3.6.2 3.9.2 4.0.2 4.3.1
LOWEST := build/lowest
NEWEST := build/newest
FRESH := build/fresh
AIOKAFKA ?= git+https://github.com/aio-libs/aiokafka
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

# whoever wants no byte code written would compile everything in every process that a test starts
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo kafka postgres unit test test-lowest test-aiokafka test-versions test-servers test-faults test-long browser screenshots reliability bench docs lint format build types clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" \
	read -r name does; do printf '  make %-14s %s\n' "$$name" "$$does"; done

run: $(READY)  ## the example app; KAFKA=1 uses the broker on localhost:9092; HOST=, PORT=
	@$(BIN)/python -m tools.welcome $(HOST) $(PORT) $(if $(KAFKA),localhost:9092)
	@exec $(if $(KAFKA),env KAFKA_BOOTSTRAP_SERVERS=localhost:9092) $(BIN)/python -m uvicorn example_app.main:app \
		--host $(HOST) --port $(PORT) --timeout-graceful-shutdown 5

demo: $(READY)  ## bets for the app of `make run`, of which some fail, until Ctrl-C; RATE= a second, HOST=, PORT=
	@exec $(BIN)/python -m tools.demo $(HOST) $(PORT) $(RATE)

kafka: $(READY)  ## a real broker on localhost:9092, until Ctrl-C
	@$(BIN)/python -m tools.machine kafka
	@exec $(BIN)/python -m tools.kafka

postgres: $(READY)  ## a PostgreSQL on localhost:5432, until Ctrl-C
	@$(BIN)/python -m tools.databases.postgres provide
	@exec $(BIN)/python -m tools.databases.postgres

unit: $(READY)  ## the tests that need no Kafka, side by side, in four minutes; WORKERS=, ARGS= for pytest
	$(BIN)/python -m pytest -m "$(ALONE)" -n $(WORKERS) --dist worksteal $(ARGS)

test: $(READY)  ## all tests but those that take long, and coverage; ARGS= tests some; REQUIRE_KAFKA=1 fails without one
	@$(BIN)/python -m tools.machine kafka
	@$(BIN)/python -m tools.prometheus
	@$(BIN)/python -m tools.databases.postgres provide
	@$(BIN)/python -m tools.databases.mariadb provide
ifdef ARGS
	$(BIN)/python -m pytest -m "not faults and not long and not servers" -n 2 --dist loadfile $(ARGS)
else
	$(BIN)/python -m pytest -m "$(ALONE) and not cpu" -n $(WORKERS) --dist worksteal --cov --cov-report= --cov-fail-under=0
	$(BIN)/python -m pytest -m "$(ALONE) and cpu" --no-cov
	$(BIN)/python -m pytest -m "$(ON_KAFKA) and not cpu" -n 2 --dist loadfile \
		--cov --cov-append --cov-report=term-missing
	$(BIN)/python -m pytest -m "$(ON_KAFKA) and cpu" --no-cov
endif

test-lowest: $(READY)  ## as unit, on the lowest versions that pyproject.toml allows; WORKERS=, ARGS=
	@$(PIP) --group lowest
	@mkdir -p build
	$(BIN)/uv pip compile -q --python $(BIN)/python --all-extras --resolution lowest-direct \
		--no-header --no-annotate pyproject.toml -o $(LOWEST).txt
	@# the tools are the usual ones, but for what they share with the package
	@awk -F== '{ name = tolower($$1); gsub("_", "-", name) } !seen[name]++' $(LOWEST).txt constraints.txt \
		> $(LOWEST)-and-tools.txt
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(LOWEST)
	@$(BIN)/uv pip install -q --python $(LOWEST) -c $(LOWEST)-and-tools.txt --group dev -e '.[compression]'
	$(LOWEST)/bin/python -m pytest -m "$(ALONE)" -n $(WORKERS) --dist worksteal $(ARGS)

test-aiokafka: $(READY)  ## the Kafka transport, without a Kafka, on aiokafka's main branch; AIOKAFKA=, WORKERS=, ARGS=
	@$(PIP) --group build
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(NEWEST)
	@$(BIN)/uv pip install -q --python $(NEWEST) -c constraints.txt --group dev -e '.[compression]'
	@# alone, for pyproject.toml allows no version that we have not seen
	@$(BIN)/uv pip install -q --python $(NEWEST) --no-deps 'aiokafka @ $(AIOKAFKA)'
	$(NEWEST)/bin/python -m pytest -m "$(ALONE)" -n $(WORKERS) --dist worksteal tests/transport/kafka $(ARGS)

test-versions: $(READY)  ## what a service needs of Kafka, on each version that we support; KAFKAS="3.6.2 4.0.2"
	@$(BIN)/python -m tools.machine kafka
	@$(BIN)/python -m tools.versions $(KAFKAS)

test-servers: $(READY)  ## gunicorn, hypercorn and granian beside uvicorn, each with two processes on a real Kafka
	@$(BIN)/python -m tools.machine kafka
	@$(PIP) --group servers
	$(BIN)/python -m pytest -m kafka tests/servers $(ARGS)

test-faults: $(READY)  ## the tests that take long: clusters that move, members that come and go; ARGS=, REQUIRE_KAFKA=1
	@$(BIN)/python -m tools.machine kafka
	@$(BIN)/python -m tools.prometheus
	@$(BIN)/python -m tools.databases.postgres provide
	@$(BIN)/python -m tools.databases.mariadb provide
	$(BIN)/python -m pytest -m faults -n 2 --dist loadfile $(ARGS)

test-long: $(READY)  ## half an hour of random faults, and others through the same ones; FAULTS_MINUTES=, FAULTS_SEED=
	@$(BIN)/python -m tools.machine kafka
	@$(BIN)/python -m tools.browser
	@$(PIP) --group bench --group browser
	EXAMPLES=all $(BIN)/python -m pytest -m "hypothesis and $(ALONE)" -n $(WORKERS) --dist worksteal $(ARGS)
	$(BIN)/python -m pytest -m long $(ARGS)

browser: $(READY)  ## the console in a real Chromium, in a minute; ARGS=, REQUIRE_BROWSER=1 fails without one, REQUIRE_KAFKA=1
	@$(BIN)/python -m tools.browser
	@$(BIN)/python -m tools.machine kafka
	@$(PIP) --group browser
	$(BIN)/python -m pytest -m "browser and not long" --no-cov $(or $(ARGS),tests/browser)

screenshots: $(READY)  ## the console's pictures in docs/screenshots, made anew by the browser tests
	@$(BIN)/python -m tools.browser
	@$(BIN)/python -m tools.machine kafka
	@$(PIP) --group browser
	SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest -m "browser and not long" --no-cov \
		tests/browser/test_pictures.py tests/browser/test_ninety_seconds.py tests/browser/test_outboxes.py

reliability: $(READY)  ## the fault tests and the long one, and RELIABILITY.md written from what they found
	rm -rf build/reliability
	$(MAKE) test-faults test-long REQUIRE_KAFKA=1
	$(BIN)/python -m tools.reliability build/reliability

bench: $(READY)  ## measure us beside aiokafka, FastStream and others; ARGS="--only publish-1000 --rounds 3 --quick"
	@$(BIN)/python -m tools.machine kafka
	@$(PIP) --group bench
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY)  ## the documentation as a site in build/docs/site; DOCS_REPOSITORY= the address of the repository
	@$(PIP) --group docs
	@$(BIN)/python -m tools.docs

lint: $(READY)  ## ruff, mypy, pyright and the floors of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(READY)  ## let ruff put the code in order
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: $(READY)  ## the sdist and the wheel in build/dist, looked through and installed; TAG=v1.2.3 for a release
	@$(PIP) --group build
	@rm -rf build/dist
	@$(BIN)/uv build -q --python $(BIN)/python --build-constraints constraints.txt --out-dir build/dist
	@$(BIN)/python -m tools.package build/dist $(TAG)
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(FRESH)
	@$(BIN)/uv pip install -q --python $(FRESH) -c constraints.txt build/dist/*.whl
	@$(FRESH)/bin/python -I tools/fresh.py

types: build  ## whether each public name has a type of its own, as a user's type checker sees it
	@# with the extras, whose classes stand in signatures
	@for wheel in build/dist/*.whl; do $(BIN)/uv pip install -q --python $(FRESH) -c constraints.txt \
		"$$wheel[outbox,prometheus,opentelemetry]"; done
	@$(BIN)/python -m tools.public_types $(FRESH)

clean:  ## remove everything that make has made, Kafka's jars included
	rm -rf $(VENV) build .kafka .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or say make PYTHON=..."; exit 1; }
	@echo "setting up $(VENV), once; that may take a minute"
	@$(PYTHON) tools/machine.py venv $(VENV)
	@$(PIP) pip
	@$(PIP) --group dev --group neighbours -e '.[compression]'
	@touch $@
