"""The file of API keys, and the command that writes it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from api import keys
from api.keys import KeyFile
from tests.conftest import ROOT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_only_the_hash_is_kept_and_only_for_the_owner(file: Path) -> None:
    secret = keys.add(file, "alice")
    text = file.read_text()
    assert secret not in text
    assert keys.KeyFile(file).find(secret) == keys.read_keys(file)[0]
    assert file.stat().st_mode & 0o777 == 0o600
    for name in ("a b", "", "x" * 65, "a\nb"):
        with pytest.raises(ValueError, match="a name has 1 to 64 letters"):
            keys.add(file, name)
    with pytest.raises(ValueError, match="alice has a key already"):
        keys.add(file, "alice")


def test_lines_that_are_no_keys_are_passed_over(file: Path, caplog: Any) -> None:
    secret = keys.add(file, "alice")
    file.write_text("# whose are they?\n\nrubbish\n" + file.read_text())
    assert KeyFile(file).find(secret)
    assert "line 3 is not a key" in caplog.text
    keys.add(file, "bob")
    assert file.read_text().startswith("# whose are they?\n\nrubbish\nalice ")


@pytest.mark.parametrize("name", ["a", "x" * 64, "alice@example.org", "A.b_c-9"])
def test_names_of_every_kind(file: Path, name: str) -> None:
    secret = keys.add(file, name)
    found = KeyFile(file).find(secret)
    assert found
    assert (found.name, found.revoked) == (name, None)


def test_a_revoked_key_is_known_as_such_until_its_name_has_another(file: Path) -> None:
    first = keys.add(file, "alice")
    keys.revoke(file, "alice")
    with pytest.raises(ValueError, match="alice has no key"):
        keys.revoke(file, "alice")
    second = keys.add(file, "alice")
    known = KeyFile(file)
    old, new = known.find(first), known.find(second)
    assert old and old.revoked
    assert new and not new.revoked
    assert not known.empty
    keys.revoke(file, "alice")
    assert KeyFile(file).empty


def test_a_change_of_the_file_counts_at_once(file: Path) -> None:
    first = keys.add(file, "alice")
    known = KeyFile(file)
    second = keys.add(file, "bob")
    assert known.find(first) and known.find(second)
    text = file.read_text()
    file.write_text(text.splitlines()[1] + "\n")
    assert known.find(first) is None
    assert known.find(second)
    file.write_text(text)
    assert known.find(first)


def test_a_file_that_is_gone_lets_nobody_in(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = keys.add(file, "alice")
    known, text = KeyFile(file), file.read_text()
    file.unlink()
    for _ in range(3):
        assert known.find(secret) is None
    assert caplog.text.count("so none is accepted: No such file or directory") == 1, "it is said once"
    file.write_text(text)
    assert known.find(secret)
    with pytest.raises(FileNotFoundError):
        KeyFile(file.with_name("nothing"))


def test_secrets_cannot_be_guessed_from_the_file(file: Path) -> None:
    secret = keys.add(file, "alice")
    assert secret.startswith(keys.PREFIX)
    assert len(secret) >= 40
    known = KeyFile(file)
    for wrong in ("", "alice", secret[:-1], secret + "x", secret.upper(), keys.read_keys(file)[0].digest):
        assert known.find(wrong) is None


def test_the_command(typed: Any, tmp_path: Path) -> None:
    assert "Set api_keys_file" in typed(keys.main, "add", "alice").err
    setting = {"DICE_TALK_API_KEYS_FILE": "deep/keys"}
    made = typed(keys.main, "add", "alice", **setting)
    assert KeyFile(tmp_path / "deep/keys").find(made.out.strip())
    assert made.err == "This is the key of alice. It is not shown again.\n"
    again = typed(keys.main, "add", "alice", **setting)
    assert (again.code, again.err) == (1, "That did not work: alice has a key already; revoke it first\n")
    assert typed(keys.main, "list", **setting).out.startswith("alice  made 20")
    assert typed(keys.main, "revoke", "alice", **setting).code == 0
    assert "alice has no key" in typed(keys.main, "revoke", "alice", **setting).err
    assert "  revoked 20" in typed(keys.main, "list", **setting).out
    assert typed(keys.main, "list", DICE_TALK_API_KEYS_FILE="none").err == "none: No such file or directory\n"
    assert "there is no setting DICE_TALK_X" in typed(keys.main, "list", DICE_TALK_X="1").err
    assert typed(keys.main, "eat").code == 2


def test_it_is_run_as_a_module(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DICE_TALK_API_KEYS_FILE": "keys"}
    command = [sys.executable, "-m", "api.keys", "add", "alice"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert KeyFile(tmp_path / "keys").find(done.stdout.strip())
