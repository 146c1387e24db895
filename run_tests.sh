#!/usr/bin/env bash
# Installs what the tests need and runs them; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/environment.sh
prepare tests -e ".[dev]"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the tests' processes share the cores already
if [ $# = 0 ]; then
    set -- -n 3 --dist loadfile --no-loadscope-reorder # much of a test is waiting; the longest files come first
fi
exec .venv/bin/python -m pytest "$@"
