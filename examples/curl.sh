#!/usr/bin/env bash
# Makes a talking-head video with nothing but curl: examples/curl.sh PORTRAIT SPEECH [EMOTION] [OUTPUT]
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "Usage: $0 PORTRAIT SPEECH [EMOTION] [OUTPUT]" >&2
    exit 2
fi
tasks=${DICE_TALK_SERVER:-http://localhost:8000}/api/v1/synthesis

call() { # ARGUMENTS of curl; the key is passed through a file, so that the list of processes does not show it
    curl -sS --retry 3 --config - "$@" <<<"${DICE_TALK_API_KEY:+header = \"Authorization: Bearer $DICE_TALK_API_KEY\"}"
}

field() { # NAME: the text of that field in the JSON on standard input
    sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"
}

created=$(call -F "image=@$1" -F "audio=@$2" -F "emotion=${3:-happy}" "$tasks/start")
task=$(field task_id <<<"$created")
if [ -z "$task" ]; then
    echo "$created" >&2
    exit 1
fi
while state=$(call "$tasks/$task/status"); do
    case $(field status <<<"$state") in
        COMPLETED) break ;;
        PENDING | PROCESSING) sleep 1 ;;
        *)
            echo "$state" >&2
            exit 1
            ;;
    esac
done
call --fail -o "${4:-result.mp4}" "$tasks/$task/download"
echo "Saved ${4:-result.mp4}"
