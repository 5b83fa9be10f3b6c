# What developers and .ci/run call. Everything lives in .venv; only python3 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
unexport PYTHONDONTWRITEBYTECODE  # the tests start the program a thousand times: it is compiled once

.PHONY: rehearse test torture fuzz accuracy check bench clean

rehearse: $(STAMP)  ## a whole mailing of the example list into an inbox on this machine
	$(BIN)/outreach rehearse

test: $(STAMP)  ## every test; servers that are not installed are skipped, unless REQUIRE_SERVERS=1
	$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

torture: $(STAMP)  ## the sending, killed, starved, interrupted and cut off from power, for most of an hour
	$(BIN)/python tests/torture.py $(ARGS)

fuzz: $(STAMP)  ## the reading of lists and of mails, with mutated files, for five minutes
	PYTHONPATH=tests $(BIN)/python tests/fuzz.py --minutes 2.5 $(ARGS)
	PYTHONPATH=tests $(BIN)/python tests/fuzz_mail.py --minutes 2.5 $(ARGS)

accuracy: $(STAMP)  ## how well mail is understood: real mails with labels, in ../shared/corpora or ARGS="--corpora DIR"
	$(BIN)/python benchmarks/accuracy.py $(ARGS)

check: $(STAMP)  ## style, types, layers, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -p no:xdist tests/test_layers.py tests/test_docs.py

bench: $(STAMP)  ## measured claims, side by side with peers
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/mailbox.py

clean:
	rm -rf $(VENV) rehearsal fuzz-failures dist build

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $(STAMP)
