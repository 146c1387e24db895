#!/usr/bin/env bash
# Installs what is missing and starts the server. See ./start_server.sh help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/environment.sh

usage() {
    cat <<'TEXT'
Usage: ./start_server.sh [start | install | health | help]

  start    install what is missing, then serve in the foreground (the default)
  install  install what is missing; "install diffusion" also what the diffusion engine needs (several GB),
           "install c2pa" what signs videos (60 MB), "install objects" what keeps files in an object store (15 MB),
           "install postgres" what speaks to PostgreSQL (10 MB), "install ray" what renders on a cluster (240 MB)
  health   show the health of a running server
  help     this text

Settings: config.toml, or environment variables, for example DICE_TALK_PORT=9000 ./start_server.sh
TEXT
}

case "${1:-start}" in
    start)
        prepare api
        exec .venv/bin/python -m api.server
        ;;
    install)
        prepare api
        if [ "${2:-}" = diffusion ]; then
            prepare diffusion
            compile
            echo "Installed. Fetch the weights with .venv/bin/dice-talk download"
        elif [ "${2:-}" = c2pa ]; then
            prepare c2pa
            echo "Installed. Set c2pa_certificates and c2pa_private_key; see docs/labels.md"
        elif [ "${2:-}" = postgres ]; then
            prepare postgres
            echo "Installed. Set database_url; see docs/scale.md"
        elif [ "${2:-}" = objects ]; then
            prepare objects
            echo "Installed. Set storage_url; see docs/scale.md"
        elif [ "${2:-}" = ray ]; then
            prepare ray
            echo "Installed. Set render_on and ray_address, and start nodes; see docs/scale.md"
        else
            compile
            echo "Installed. Start with ./start_server.sh"
        fi
        ;;
    health)
        [ -x .venv/bin/python ] || fail "nothing is installed yet: ./start_server.sh install"
        exec .venv/bin/python -m api.health
        ;;
    help | -h | --help)
        usage
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
