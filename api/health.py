"""Asks a running server for its health: `python -m api.health`. Exit code 0 if it is healthy."""

import json
import sys
import urllib.request

from api.settings import StartError, load_settings


def main() -> None:
    """Print the response of /api/health."""
    try:
        settings = load_settings()
    except StartError as error:
        sys.exit(str(error))
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    url = f"http://{host}:{settings.port}/api/health"
    known = settings.known_hosts[0]  # the server may not answer to its address
    name = None if known == "*" else known.replace("*", "health")
    try:
        request = urllib.request.Request(url, headers={"Host": name} if name else {})
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http, see above
            health = json.load(answer)
    except (OSError, ValueError) as error:
        hint = "Set DICE_TALK_PORT if it listens on another port."
        sys.exit(f"No server answers at {url}: {getattr(error, 'reason', error)}. {hint}")
    sys.stdout.write(json.dumps(health, indent=2) + "\n")
    sys.exit(health["status"] != "healthy")


if __name__ == "__main__":
    main()
