"""python -m api.webhooks: the secret that callbacks are signed with."""

from pathlib import Path
from typing import Any

import pytest

from api import webhooks
from api.callbacks.signing import secret_of, show

SECRET = b"0123456789abcdef" * 2
ONE_SECRET = {"DICE_TALK_WEBHOOK_SECRET": show(SECRET)}


def test_the_only_secret(typed: Any) -> None:
    assert typed(webhooks.main, **ONE_SECRET).out == f"{show(SECRET)}\n"


def test_one_secret_for_each_key(typed: Any) -> None:
    keys = {**ONE_SECRET, "DICE_TALK_API_KEYS_FILE": "keys"}
    shown = [typed(webhooks.main, name, **keys).out for name in ("alice", "bob")]
    assert shown == [f"{show(secret_of(name, SECRET))}\n" for name in ("alice", "bob")]


@pytest.mark.parametrize(("arguments", "variables"), [(["alice"], {}), ([], {"DICE_TALK_API_KEYS_FILE": "keys"})])
def test_a_name_where_there_are_keys_and_none_where_not(
    typed: Any, arguments: list[str], variables: dict[str, str]
) -> None:
    said = typed(webhooks.main, *arguments, **ONE_SECRET, **variables)
    assert (said.code, said.out) == (1, "")
    assert "name one" in said.err


def test_what_is_wrong_is_said_in_one_line(typed: Any, tmp_path: Path) -> None:
    assert typed(webhooks.main, DICE_TALK_WEBHOOK_SECRET="hunter2").err.startswith("webhook_secret is not whsec_")
    assert typed(webhooks.main, DICE_TALK_PORT="x").err.startswith("wrong setting: port")
    (tmp_path / "data").write_text("a file")
    said = typed(webhooks.main)
    assert (said.code, said.err) == (1, "data: File exists\n")
