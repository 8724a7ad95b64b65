# `make demo` and `make test` are all that most people need; everything else is in `.venv/bin/inv --list`.

PYTHON ?= python3
VENV := .venv

.PHONY: demo test venv lint clean

demo: venv
	$(VENV)/bin/inv demo

test: venv
	$(VENV)/bin/inv test

lint: venv
	$(VENV)/bin/inv lint

venv: $(VENV)/ready

# The mark is written last, so an interrupted installation is made again.
$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed; name one with: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ] && [ "$$(command -v $(PYTHON))" = /usr/bin/python3 ]; \
	    then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy python3-venv; \
	    else echo "This Python cannot make a venv; install python3-venv (Debian, Ubuntu) first." >&2; exit 1; fi
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
