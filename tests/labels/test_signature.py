import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dice_talk.engine import RenderJob
from dice_talk.errors import RenderFailed
from dice_talk.labels import Labels, reading
from dice_talk.options import RenderOptions
from dice_talk.video import finish, probe
from tests.certificates import make_chain
from tests.labels.files import NAMED, decoded, tags, write


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a chain and its key."""
    pytest.importorskip("c2pa", reason="c2pa-python is not installed: ./start_server.sh install c2pa")
    return make_chain(tmp_path_factory.mktemp("chain"))


def signed(chain: Path, **changes: Any) -> Labels:
    pair = {"c2pa_certificates": chain / "chain.pem", "c2pa_private_key": chain / "key.pem"}
    return NAMED.model_copy(update=pair | changes)


def job(path: Path, portrait: Path, labels: Labels) -> RenderJob:
    return RenderJob(portrait, portrait, path, RenderOptions(emotion="happy"), labels=labels)


def test_a_signed_video(chain: Path, portrait: Path, tmp_path: Path) -> None:
    import c2pa

    path, labels = tmp_path / "video.part", signed(chain)
    result = write(path, labels)
    before, decoded_before = path.stat().st_size, decoded(path)
    finish(job(path, portrait, labels), result, "lite")
    assert [file.name for file in tmp_path.iterdir()] == ["video.part"]
    assert before < path.stat().st_size < before + 8192
    assert probe(path).faststart
    assert all(np.array_equal(*pair) for pair in zip(decoded_before, decoded(path), strict=True))
    assert tags(path)["AIGC"] == labels.aigc
    trust = {"trust": {"user_anchors": (chain / "root.pem").read_text()}, "verify": {"ocsp_fetch": False}}
    with (
        path.open("rb") as file,
        c2pa.Context(c2pa.Settings.from_dict(trust)) as context,
        c2pa.Reader("video/mp4", file, context=context) as reader,
    ):
        assert reader.get_validation_state() == "Trusted"
        manifest = json.loads(reader.json())["manifests"].popitem()[1]
    (action,) = next(one["data"]["actions"] for one in manifest["assertions"] if "c2pa.actions" in one["label"])
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/compositeSynthetic")
    assert action["softwareAgent"] == {"name": "DICE-Talk Server, lite engine", "version": "1"}
    (ingredient,) = manifest["ingredients"]
    assert ingredient["instance_id"] == f"urn:sha256:{hashlib.sha256(portrait.read_bytes()).hexdigest()}"
    assert "thumbnail" not in ingredient
    found = reading.read(path).c2pa
    assert found and (found["state"], found["signer"]) == ("valid", "Test Operator")
    assert found["problems"] == ["signingCredential.untrusted"]


def test_a_changed_copy_is_found_out(chain: Path, portrait: Path, tmp_path: Path) -> None:
    path, labels = tmp_path / "video.mp4", signed(chain)
    finish(job(path, portrait, labels), write(path, labels), "lite")
    content = bytearray(path.read_bytes())
    content[content.index(b"mdat") + 200] ^= 1
    path.write_bytes(content)
    found = reading.read(path).c2pa
    assert found and found["state"] == "invalid"
    assert "assertion.bmffHash.mismatch" in found["problems"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "key.pem").chmod(0o644), "other users can read"),
        (lambda folder: (folder / "key.pem").unlink(), "cannot be read"),
        (lambda folder: (folder / "chain.pem").write_bytes(b"nothing"), "no PEM file"),
        (lambda folder: make_chain(folder, days=-2), "expired"),
        (lambda folder: (folder / "key.pem").write_bytes((folder / "other.pem").read_bytes()), "not the key of"),
    ],
    ids=["readable", "missing", "no certificate", "expired", "another key"],
)
def test_what_cannot_sign_fails_with_a_reason(
    chain: Path, portrait: Path, tmp_path: Path, spoil: Any, reason: str
) -> None:
    folder = tmp_path / "chain"
    shutil.copytree(chain, folder)
    spoil(folder)
    path, labels = tmp_path / "video.mp4", signed(folder)
    result = write(path, labels)
    with pytest.raises(RenderFailed, match="could not be signed") as failure:
        finish(job(path, portrait, labels), result, "lite")
    assert reason in str(failure.value.detail)
    assert str(tmp_path) not in str(failure.value.detail)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["chain", "video.mp4"]
