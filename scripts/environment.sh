# Makes .venv and installs locks into it. Sourced by start_server.sh, run_tests.sh and others.
# shellcheck shell=bash

OLDEST_PYTHON=11 # minor versions
NEWEST_PYTHON=14
BEST_PYTHON=3.13 # installed by uv if needed: every package has a wheel for it

[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}" # one mirror for both
unset PYTHONDONTWRITEBYTECODE # otherwise every start, and every check of an upload, would compile all modules again

fail() {
    echo "error: $*" >&2
    exit 1
}

supported() { # PYTHON: whether it runs and its version is supported
    "$1" -c "import sys; sys.exit(not (3, $OLDEST_PYTHON) <= sys.version_info[:2] <= (3, $NEWEST_PYTHON))" 2>/dev/null
}

find_python() { # the one that PYTHON names, otherwise the system's own, otherwise any
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

# Prints the path of uv: the system's, or one fetched from the package index into .uv. If that fails, one line says why.
find_uv() {
    local python release said why=
    if command -v uv || { [ -x .uv/bin/uv ] && echo .uv/bin/uv; }; then
        return
    fi
    release=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements_dev.txt)
    for python in python3 python3.{14..8}; do
        command -v "$python" >/dev/null || continue
        if said=$({ "$python" -m pip install --quiet --only-binary=:all: --target .uv --upgrade "uv==$release" ||
            "$python" scripts/fetch_uv.py "$release" .uv; } 2>&1); then
            echo .uv/bin/uv
            return
        fi
        why=${said:-$why}
    done
    echo "${why##*$'\n'}"
    return 1
}

fits() { # PYTHON: whether .venv works, has this layout of the project, and was made with that Python
    [ -x .venv/bin/python ] && supported .venv/bin/python && [ ! -e .venv/installed-server ] && [ ! -e .venv/installed-tests ] &&
        { [ -z "${PYTHON:-}" ] || [ "$(version .venv/bin/python)" = "$(version "$PYTHON")" ]; }
}

version() { # PYTHON
    "$1" -c "import sys; print(sys.version_info[:2])" 2>/dev/null
}

make_venv() {
    local python uv
    python=$(find_python) || exit 1
    fits && return
    rm -rf .venv
    if ! command -v uv >/dev/null && [ -n "$python" ] && "$python" -c "import ensurepip, venv" 2>/dev/null; then
        "$python" -m venv .venv || fail "$python cannot make a virtual environment (see above)"
        return
    fi
    uv=$(find_uv) || fail "Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON is needed, found $(python3 -V 2>/dev/null || echo none)${python:+ without venv}. Install one (on Debian and Ubuntu: apt-get install python3-venv), or uv (https://docs.astral.sh/uv/), which fetches it.${uv:+ uv could not be fetched: $uv}"
    "$uv" venv --quiet --seed --python "${python:-$BEST_PYTHON}" .venv ||
        fail "uv could not make .venv; is there a network? Or install Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON."
}

install() { # ARGUMENTS of pip install; only from wheels, because not every machine has a compiler
    local uv
    if uv=$(command -v uv || ls .uv/bin/uv 2>/dev/null); then
        "$uv" pip install --quiet --python .venv/bin/python --only-binary=:all: "$@"
    else
        # Like uv, this leaves compiling to the first import: compiling everything would take longer than installing.
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: "$@"
    fi || fail "the packages could not be installed (see above); is there a network, and room on the disk?"
}

# For a service that may not write here and would otherwise compile its modules at every start. Packages contain files
# for other versions of Python, so errors are ignored.
compile() {
    .venv/bin/python -m compileall -qq -j0 api dice_talk .venv/lib || true
}

names() { # LOCK ...: the packages in them
    sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' "$@" | sort -u
}

# Packages that earlier locks installed and these no longer name.
leftovers() { # LOCK ...
    comm -23 <(names .venv/locks/requirements_*.txt) <(names "$@")
}

unchanged() { # FILE ...: whether they are the same as when they were installed
    local file
    for file in "$@"; do
        cmp -s "$file" ".venv/locks/$file" || return 1
    done
}

# prepare NAME: installs requirements_NAME.txt, the locks that .venv already has, and the project itself, with exactly
# the versions they name. Takes no time if nothing has changed.
prepare() {
    local lock locks=() old
    make_venv
    for lock in requirements_*.txt; do
        if [ "$lock" = "requirements_$1.txt" ] || [ -e ".venv/locks/$lock" ]; then
            locks+=("$lock")
        fi
    done
    unchanged pyproject.toml "${locks[@]}" && return
    echo "Installing packages into .venv (half a minute, once) ..."
    if [ -e .venv/locks ]; then
        old=$(leftovers "${locks[@]}")
        # shellcheck disable=SC2086
        [ -z "$old" ] || .venv/bin/python -m pip uninstall --quiet --yes $old
    fi
    install --no-deps "${locks[@]/#/-r}"
    install --no-deps -e .
    .venv/bin/python -m dice_talk.lite.sphinx || exit 1
    # The word model and its dictionary, 30 MB: only phones are recognised.
    rm -f .venv/lib/python3*/site-packages/pocketsphinx/model/en-us/{en-us.lm.bin,cmudict-en-us.dict}
    mkdir -p .venv/locks
    cp pyproject.toml "${locks[@]}" .venv/locks/
}
