#!/usr/bin/env bash
# Makes the locks from pyproject.toml's ranges, each for all Pythons and platforms, with markers.
#
#     scripts/lock.sh              keeps the present versions if the ranges still allow them
#     scripts/lock.sh --upgrade    takes the newest versions
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
uv=$(find_uv) || fail "uv could not be fetched; is there a network? $uv"

lock() { # NAME ARGUMENTS of uv pip compile: requirements_NAME.txt
    local name=$1
    shift
    "$uv" pip compile --quiet --universal --python-version "3.$OLDEST_PYTHON" --only-binary=:all: --annotation-style line \
        --custom-compile-command "scripts/lock.sh" pyproject.toml --output-file "requirements_$name.txt" "$@"
}

# Each is constrained by the ones before, so that they can be installed together.
lock api "$@"
lock diffusion --extra diffusion --constraint requirements_api.txt "$@"
lock dev --extra dev --constraint requirements_diffusion.txt --constraint requirements_api.txt "$@"
lock ray --extra ray --constraint requirements_dev.txt --constraint requirements_api.txt "$@"
lock objects --extra objects --constraint requirements_dev.txt --constraint requirements_api.txt "$@"
lock c2pa --extra c2pa --constraint requirements_dev.txt --constraint requirements_api.txt "$@"
lock postgres --extra postgres --constraint requirements_dev.txt --constraint requirements_api.txt "$@"
