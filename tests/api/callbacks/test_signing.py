"""Secrets and signatures of callbacks, as the reference library reads them."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api import webhooks
from api.app import create_app
from api.callbacks import signing
from api.callbacks.signing import secret_of, show, sign
from api.settings import Settings, StartError

SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KEY = b"0123456789abcdef" * 2


def test_a_secret_is_made_once(typed: Any, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    secret = signing.load_secret(settings)
    assert (len(secret), signing.load_secret(settings)) == (32, secret)
    assert (tmp_path / "webhook_secret").stat().st_mode & 0o777 == 0o600
    shown = typed(webhooks.main, DICE_TALK_DATA_DIR=str(tmp_path))
    assert shown.out == signing.show(secret) + "\n"
    assert signing.load_secret(Settings(data_dir=tmp_path, webhook_secret=SECRET)) == KEY


@pytest.mark.parametrize("secret", ["hunter2", "whsec_c2hvcnQ=", "whsec_" + "A" * 33])
def test_a_secret_that_is_none_keeps_the_server_from_starting(tmp_path: Path, secret: str) -> None:
    with pytest.raises(StartError, match=r"^webhook_secret is not whsec_ and 24 to 64 bytes in base64$"):
        create_app(Settings(data_dir=tmp_path, webhook_secret=secret))
    (tmp_path / "webhook_secret").write_text(secret)
    with pytest.raises(StartError, match=r"/webhook_secret is not whsec_ and 24 to 64 bytes in base64$"):
        create_app(Settings(data_dir=tmp_path))


def headers(signature: str, timestamp: int, message_id: str = "msg") -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def test_what_is_signed_is_id_time_and_body() -> None:
    now = int(time.time())
    signature = sign(KEY, "msg", now, b'{"a": 1}')
    reader = Webhook(show(KEY))
    assert reader.verify(b'{"a": 1}', headers(signature, now)) == {"a": 1}
    for body, changed in (
        (b'{"a": 2}', headers(signature, now)),
        (b'{"a": 1}', headers(signature, now + 1)),
        (b'{"a": 1}', headers(signature, now, "other")),
        (b'{"a": 1}', headers(signature[:-4] + "AAA=", now)),
    ):
        with pytest.raises(WebhookVerificationError):
            reader.verify(body, changed)


def test_a_known_signature() -> None:
    """Made with openssl dgst -sha256 -hmac."""
    assert sign(KEY, "msg", 1_700_000_000, b"{}") == "v1,ihMdB3LRt95wZNOGVlan+2L/+rKMUSOTbCH8d2Ic4kA="


def test_every_key_has_a_secret_of_its_own() -> None:
    secrets = {secret_of(owner, KEY) for owner in ("alice", "bob", "", None)}
    assert len(secrets) == 4
    assert secret_of(None, KEY) == KEY
    assert secret_of("alice", KEY) == secret_of("alice", KEY) != secret_of("alice", KEY[::-1])
    assert all(len(secret) == 32 for secret in secrets)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_secrets_of_every_length_that_is_allowed(length: int, tmp_path: Path) -> None:
    secret = bytes(range(length))
    assert base64.b64decode(show(secret).removeprefix("whsec_")) == secret
    assert signing.load_secret(Settings(data_dir=tmp_path, webhook_secret=show(secret))) == secret
