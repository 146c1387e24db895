"""API keys and the file that holds them: `python -m api.keys add NAME`, `revoke NAME` or `list`.

The file has one key a line: name, SHA-256, the day it was made and, for a revoked key, the day of that. The key itself
is shown once and not stored. It consists of 256 random bits, which nobody can guess, so a plain hash protects it. Slow
hashes are meant for passwords that people choose, and would cost every request a tenth of a second.
"""

import argparse
import hashlib
import hmac
import logging
import re
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from api.settings import StartError, load_settings
from dice_talk.atomic import atomic_write

log = logging.getLogger(__name__)

PREFIX = "dtk_"
"""Lets people, and programs that search for leaked secrets, recognise a key."""
NAME = r"[A-Za-z0-9._@-]{1,64}"
_LINE = re.compile(rf"(?P<name>{NAME})\s+(?P<digest>[0-9a-f]{{64}})\s+(?P<made>\S+)(\s+(?P<revoked>\S+))?")


@dataclass(frozen=True)
class Key:
    """One line of the file. The key's name owns the tasks made with it."""

    name: str
    digest: str  # SHA-256 in hex
    made: str
    revoked: str | None


class KeyFile:
    """The keys in a file. It is read again when it changes, so a revoked key is refused at once."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` if the file cannot be read."""
        self._path = path
        self._keys = read_keys(path)
        self._seen: tuple[int, int, int] | None = _version(path)

    @property
    def empty(self) -> bool:
        """Whether no key is valid."""
        return all(key.revoked for key in self._keys)

    def find(self, secret: str) -> Key | None:
        """Return the key for a secret. The time it takes does not depend on the secret."""
        self._refresh()
        digest, found = _digest(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _refresh(self) -> None:
        try:
            version = _version(self._path)
            if version != self._seen:
                self._keys = read_keys(self._path)
        except OSError as error:
            if self._keys:
                log.error("The keys in %s cannot be read, so none is accepted: %s", self._path, error.strerror)
            version, self._keys = None, []
        self._seen = version


def read_keys(path: Path) -> list[Key]:
    """Return all keys in a file. Invalid lines are logged and skipped."""
    keys = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if match := _LINE.fullmatch(line.strip()):
            keys.append(Key(**match.groupdict()))
        elif line.strip() and not line.startswith("#"):
            log.error("%s, line %d is not a key: name, SHA-256, day", path, number)
    return keys


def add(path: Path, name: str) -> str:
    """Make a key, store its hash and return it. Raises `ValueError`, `OSError`."""
    if not re.fullmatch(NAME, name):
        raise ValueError("a name has 1 to 64 letters, digits or any of . _ @ -")
    lines = path.read_text().splitlines() if path.exists() else []
    if any(key.name == name and not key.revoked for key in (read_keys(path) if lines else [])):
        raise ValueError(f"{name} has a key already; revoke it first")
    secret = PREFIX + secrets.token_urlsafe(32)
    _write(path, [*lines, f"{name} {_digest(secret)} {_today()}"])
    return secret


def revoke(path: Path, name: str) -> None:
    """Revoke the key of that name. Raises `ValueError`, `OSError`."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line.strip())
        if match and match["name"] == name and not match["revoked"]:
            lines[number] = f"{line.strip()} {_today()}"
            _write(path, lines)
            return
    raise ValueError(f"{name} has no key")


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode(), mode=0o600)


def _version(path: Path) -> tuple[int, int, int]:
    """Return a value that changes with the file, even twice within a second."""
    state = path.stat()
    return state.st_mtime_ns, state.st_ino, state.st_size


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def main() -> None:
    """Run the command. The key goes to standard output, everything else to standard error."""
    parser = argparse.ArgumentParser(prog="python -m api.keys", description="API keys of this server")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, words in (("add", "make a key and show it, once"), ("revoke", "refuse a key from now on")):
        commands.add_parser(command, help=words).add_argument("name")
    commands.add_parser("list", help="show the names of all keys")
    arguments = parser.parse_args()
    try:
        path = load_settings().api_keys_file
        if path is None:
            sys.exit("Set api_keys_file in config.toml first, or DICE_TALK_API_KEYS_FILE; for example to data/api_keys")
        if arguments.command == "add":
            sys.stdout.write(add(path, arguments.name) + "\n")
            sys.stderr.write(f"This is the key of {arguments.name}. It is not shown again.\n")
        elif arguments.command == "revoke":
            revoke(path, arguments.name)
        else:
            for key in read_keys(path):
                revoked = f"  revoked {key.revoked}" if key.revoked else ""
                sys.stdout.write(f"{key.name}  made {key.made}{revoked}\n")
    except StartError as error:
        sys.exit(str(error))
    except ValueError as error:
        sys.exit(f"That did not work: {error}")
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
