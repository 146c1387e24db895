#!/usr/bin/env bash
# Installs what the tests need and runs them. See ./run_tests.sh --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/environment.sh

usage() {
    cat <<'TEXT'
Usage: ./run_tests.sh [--all] [ARGUMENTS of pytest]

  without arguments   the quick set, for use before a commit
  --all               all tests, as in CI
  ARGUMENTS           selected tests: ./run_tests.sh tests/lite -k phones
TEXT
}

some=(-m "not slow and not acceptance")
shared=(-n 3 --dist loadfile --no-loadscope-reorder) # tests mostly wait; the longest files come first
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
