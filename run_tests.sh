#!/usr/bin/env bash
# Installs what the tests need and runs them. See ./run_tests.sh --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/environment.sh

usage() {
    cat <<'TEXT'
Usage: ./run_tests.sh [--all] [ARGUMENTS of pytest]

  without arguments   what a contributor needs before a commit
  --all               everything; what CI runs
  ARGUMENTS           only that: ./run_tests.sh tests/lite -k phones
TEXT
}

some=(-m "not slow and not acceptance")
shared=(-n 3 --dist loadfile --no-loadscope-reorder) # much of a test is waiting; the longest files come first
case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
    --all)
        shift
        set -- "${shared[@]}" "$@"
        ;;
    "")
        set -- "${shared[@]}" "${some[@]}"
        ;;
esac
prepare dev
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the tests' processes share the cores already
exec .venv/bin/python -m pytest "$@"
