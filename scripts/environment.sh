# Sourced by start_server.sh and run_tests.sh: makes .venv and installs into it what is asked for.
# shellcheck shell=bash

OLDEST_PYTHON=11 # minor version; 3.10 has no Pillow without known holes
NEWEST_PYTHON=12

unset PYTHONDONTWRITEBYTECODE # every start, and every look at an upload, would compile all modules anew

fail() {
    echo "error: $*" >&2
    exit 1
}

supported() { # PYTHON: whether it runs and its version is supported
    "$1" -c "import sys; sys.exit(not (3, $OLDEST_PYTHON) <= sys.version_info[:2] <= (3, $NEWEST_PYTHON))" 2>/dev/null
}

find_python() {
    local minor candidate
    for candidate in python3 $(for minor in $(seq $NEWEST_PYTHON -1 $OLDEST_PYTHON); do echo "python3.$minor"; done); do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

make_venv() {
    if [ -x .venv/bin/python ] && supported .venv/bin/python; then
        return
    fi
    local python
    python=$(find_python)
    rm -rf .venv
    if command -v uv >/dev/null; then # also fetches a Python where there is none that fits
        uv venv --quiet --seed --python "${python:-3.$NEWEST_PYTHON}" .venv ||
            fail "uv could not make .venv; is there a network? Or install Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON."
    elif [ -n "$python" ]; then
        "$python" -m venv .venv >/dev/null || {
            rm -rf .venv
            fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
        }
        # The pip that comes with a Python may be years old, and take three times as long to install all this.
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip || echo "pip stays as it is."
    else
        fail "Python 3.$OLDEST_PYTHON to 3.$NEWEST_PYTHON is needed, found $(python3 -V 2>&1 || echo none). Install one, or uv (https://docs.astral.sh/uv/), which fetches it."
    fi
}

install() { # ARGUMENTS of pip install
    if command -v uv >/dev/null; then
        uv pip install --quiet --python .venv/bin/python "$@"
    else
        # As uv does, leaving it to Python to compile what is ever imported: all of it would take longer than installing.
        # The warnings are about how setuptools packs the project, and nothing that whoever installs it could change.
        PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile "$@"
    fi || fail "the packages could not be installed (see above); is there a network, and room on the disk?"
}

# prepare NAME ARGUMENTS: .venv with `pip install ARGUMENTS` done. Takes no time when nothing has changed since.
prepare() {
    local name=$1 stamp wanted
    shift
    stamp=.venv/installed-$name
    make_venv
    wanted=$(cat requirements_api.txt pyproject.toml | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing packages into .venv (a minute or two, once) ..."
        install "$@"
        echo "$wanted" >"$stamp"
    fi
}
