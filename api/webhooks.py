"""Shows the secret that signs callbacks: `python -m api.webhooks [KEY]`."""

import argparse
import sys

from api.callbacks.signing import load_secret, secret_of, show
from api.settings import StartError, load_settings


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m api.webhooks", description="Shows what callbacks are signed with")
    parser.add_argument("key", nargs="?", help="name of the API key whose callbacks; none where no keys are needed")
    key = parser.parse_args().key
    try:
        settings = load_settings()
        if (key is None) != (settings.api_keys_file is None):
            sys.exit("With API keys, each has a secret of its own: name one. Without them, there is only one secret.")
        sys.stdout.write(show(secret_of(key, load_secret(settings))) + "\n")
    except (StartError, ValueError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
