"""Labels in files, read back by others than ourselves: ffprobe, c2pa's own reader, and eyes made of numpy."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import ImageFont
from pydantic import ValidationError

from dice_talk.engine import ENGINES, RenderJob, RenderResult
from dice_talk.errors import RenderFailed
from dice_talk.labels import GLYPHS, LabelOptions, Labels, reading, xmp
from dice_talk.labels.boxes import box, boxes, moov_first
from dice_talk.labels.stamp import FONT, Stamp
from dice_talk.options import RenderOptions
from dice_talk.video import VideoWriter, finish, probe, verify
from tests.certificates import make_chain

KEYS = ["Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"]
NAMED = Labels(content_producer="某某公司", produce_id="f47ac10b-58cc-4372-a567-0e02b2c3d479")


def write(
    path: Path, labels: Labels, *, fps: int = 24, frames: int = 6, side: int = 128, pixels: Any = 128
) -> RenderResult:
    with VideoWriter(
        path,
        width=side,
        height=side,
        fps=fps,
        frames=frames,
        sound=np.zeros((8000, 1), np.float32),
        rate=16000,
        metadata={"seed": 3},
        labels=labels,
    ) as writer:
        for _ in range(frames):
            writer.write(np.full((side, side, 3), pixels, np.uint8))
    return RenderResult(side, side, fps, frames, frames / fps, {"lite-engine": "1"})


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def tags(path: Path) -> dict[str, str]:
    """As ffprobe sees them."""
    if shutil.which("ffprobe") is None:
        with av.open(str(path)) as container:
            return dict(container.metadata)
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags", "-of", "json", str(path)]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["format"]["tags"])


@pytest.mark.parametrize(("fps", "side"), [(8, 128), (24, 256), (60, 128), (25, 512), (8, 2048)])
def test_metadata_is_there_and_nothing_else_suffers(tmp_path: Path, fps: int, side: int) -> None:
    path = tmp_path / "video.part"
    result = write(path, NAMED, fps=fps, side=side)
    verify(path, result, NAMED)
    found = tags(path)
    assert json.loads(found["AIGC"]) == dict.fromkeys(KEYS, "") | {
        "Label": "1",
        "ContentProducer": "某某公司",
        "ProduceID": NAMED.produce_id,
    }
    assert list(json.loads(found["AIGC"])) == KEYS
    assert found["title"] == found["com.apple.quicktime.title"] == "DICE-Talk"
    assert json.loads(found["comment"])["seed"] == 3
    with path.open("rb") as file:
        kinds = [one.kind for one in boxes(file)]
        assert moov_first(file)
        assert xmp.source_type(file) == "compositeSynthetic"
    assert kinds.count(b"uuid") == 1
    assert len(decoded(path)) == 6


def test_each_engine_says_what_it_makes() -> None:
    assert {name: spec.source_type for name, spec in ENGINES.items()} == {
        "lite": "compositeSynthetic",
        "diffusion": "compositeWithTrainedAlgorithmicMedia",
    }


def test_aigc_lies_where_the_standard_puts_it(tmp_path: Path) -> None:
    """moov.udta.meta: the key in keys, the value in ilst (TC260-PG-20257A, 6.1.1)."""
    write(tmp_path / "video.mp4", NAMED)
    content = (tmp_path / "video.mp4").read_bytes()
    for kind in (b"moov", b"udta", b"meta", b"keys", b"mdtaAIGC", b"ilst"):
        content = content[content.index(kind) :]
    assert "某某公司".encode() in content[: content.index(b"mdat")]


@pytest.mark.parametrize(
    "other",
    [
        {"content_producer": "another"},
        {"produce_id": "another"},
        {"source_type": "compositeWithTrainedAlgorithmicMedia"},
        {"visible_label": "always"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_file_with_other_labels_is_a_failed_render(tmp_path: Path, other: dict[str, str]) -> None:
    result = write(tmp_path / "video.mp4", NAMED)
    with pytest.raises(RenderFailed, match="lacks its labels"):
        verify(tmp_path / "video.mp4", result, NAMED.model_copy(update=other))


def test_a_file_without_labels_is_a_failed_render(tmp_path: Path) -> None:
    path, bare = tmp_path / "video.mp4", tmp_path / "bare.mp4"
    result = write(path, NAMED)
    with av.open(str(path)) as source, av.open(str(bare), "w", options={"movflags": "+faststart"}) as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    assert reading.read(bare) == reading.Found(None, None, None, None)
    with pytest.raises(RenderFailed):
        verify(bare, result, NAMED)


# --- The visible label


@pytest.mark.parametrize("fps", [8, 24, 60])
@pytest.mark.parametrize(("shown", "seconds"), [("off", 0), ("start", 2), ("always", 3)])
def test_it_is_seen_from_the_first_frame_on(tmp_path: Path, fps: int, shown: Any, seconds: int) -> None:
    path = tmp_path / "video.mp4"
    labels = Labels(visible_label=shown)
    write(path, labels, fps=fps, frames=3 * fps)
    seen = [bool(np.ptp(frame) > 100) for frame in decoded(path)]
    last = min(3 * fps, seconds * fps + 1) if seconds else 0
    assert seen == [number < last for number in range(3 * fps)]
    noted = reading.read(path).visible_label
    assert noted == ({"text": "AI生成 AI-generated", "shown": shown} if seconds else None)


@pytest.mark.parametrize("side", [128, 256, 1024, 2048])
@pytest.mark.parametrize("text", ["zh", "en", "both", "W" * 24])
def test_it_is_large_enough_and_inside(side: int, text: str) -> None:
    labels = Labels(visible_label="always", visible_label_text=text)
    frame = Stamp(labels, width=side, height=side, fps=24).on(np.full((side, side, 3), 255, np.uint8), 0)
    plate = np.asarray((frame < 255).any(axis=2))
    rows, columns = np.flatnonzero(plate.any(axis=1)), np.flatnonzero(plate.any(axis=0))
    assert rows[-1] < side - 1 and columns[-1] < side - 1 and rows[0] > 0 and columns[0] > 0
    inside = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, 0]
    ink = np.flatnonzero((inside[:, len(inside[0]) // 8 : -len(inside[0]) // 8] > 160).any(axis=1))
    first_line = np.split(ink, np.flatnonzero(np.diff(ink) > 1) + 1)[0]
    assert len(first_line) >= 0.05 * side


@pytest.mark.parametrize("corner", ["top-left", "top-right", "bottom-left", "bottom-right"])
def test_it_stands_in_its_corner_and_the_frame_is_left_alone(corner: Any) -> None:
    labels = Labels(visible_label="always", visible_label_text="zh", visible_label_corner=corner)
    frame = np.full((192, 256, 3), 90, np.uint8)
    drawn = Stamp(labels, width=256, height=192, fps=24).on(frame, 0)
    assert (frame == 90).all()
    rows, columns = np.nonzero((drawn != 90).any(axis=2))
    assert ("top" in corner) == (rows.max() < 96) and ("left" in corner) == (columns.max() < 128)


@pytest.mark.parametrize("ground", ["light", "dark", "busy"])
@pytest.mark.parametrize("side", [128, 256, 1024])
def test_it_is_legible_over_any_picture(tmp_path: Path, ground: str, side: int) -> None:
    """After the encoder too: what is ink over black is at least 3 times as bright as what is plate."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels = {"light": 255, "dark": 0, "busy": noise}[ground]
    labels = Labels(visible_label="always", visible_label_text="zh")
    stamp = Stamp(labels, width=side, height=side, fps=24)
    ink = stamp.on(np.zeros((side, side, 3), np.uint8), 0)[..., 0]
    over_white = stamp.on(np.full((side, side, 3), 255, np.uint8), 0)[..., 0]
    write(tmp_path / "video.mp4", labels, side=side, pixels=pixels, frames=2)
    light = decoded(tmp_path / "video.mp4")[0].astype(float).mean(axis=2)
    letters, plate = light[ink > 250], light[(ink == 0) & (over_white < 100)]
    assert np.percentile(letters, 25) > 200 and np.percentile(plate, 90) < 110
    assert ((letters.mean() / 255) ** 2.2 + 0.05) / ((plate.mean() / 255) ** 2.2 + 0.05) > 4.5


def test_the_font_has_every_glyph_that_a_text_may_use() -> None:
    font = ImageFont.truetype(FONT, 40)
    missing = bytes(font.getmask("\uffff"))
    assert [letter for letter in GLYPHS.strip() if bytes(font.getmask(letter)) == missing] == []
    assert "SIL OPEN FONT LICENSE" in (FONT.parent / "LICENSE").read_text()


@pytest.mark.parametrize("text", ["你好", "AI\n生成", "   ", "", "A" * 25, "AI🙂"])
def test_words_that_cannot_be_drawn_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        LabelOptions(visible_label_text=text)


# --- What others may send


@pytest.mark.parametrize(
    ("aigc", "found"),
    [
        ('{"Label": "2"}', {"Label": "2"}),
        ('{"Label": 2}', '{"Label": 2}'),
        ("[1]", "[1]"),
        ("{", "{"),
        ("[" * 1500, "[" * 1500),
        ('{"Label": "\\ud800"}', {"Label": "?"}),
        ("x" * 9000, "x" * 2000),
    ],
    ids=["foreign", "number", "list", "half", "deep", "half a character", "long"],
)
def test_labels_of_others_are_told_as_they_are(tmp_path: Path, aigc: str, found: object) -> None:
    class Foreign(Labels):
        @property
        def aigc(self) -> str:
            return aigc

    write(tmp_path / "video.mp4", Foreign())
    assert reading.read(tmp_path / "video.mp4").aigc == found


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"nonsense", box(b"ftyp", b"isom\0\0\0\0"), b"\xff\xd8\xff" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(reading.InvalidVideo):
            reading.read(path)


def test_boxes_that_lie_end_the_list(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = box(b"free", b"1234")
    for tail in (b"\0\0\0\1big!", b"\0\0\0\3bad!", b"\xff\xff\xff\xfflong", b"\0"):
        path.write_bytes(whole + tail)
        with path.open("rb") as file:
            assert [(one.kind, one.start, one.end) for one in boxes(file)] == [(b"free", 8, 12)]


@pytest.mark.parametrize("packet", [b"<x", b"<a>&lol;</a>", b"", b"\xff\xfe", b"<a/>"])
def test_a_broken_packet_says_nothing(tmp_path: Path, packet: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(box(b"uuid", xmp.UUID + packet) + box(b"uuid", b"short"))
    with path.open("rb") as file:
        assert xmp.source_type(file) is None


# --- C2PA


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


def test_one_half_of_the_pair_is_refused() -> None:
    for name in ("c2pa_certificates", "c2pa_private_key"):
        with pytest.raises(ValidationError, match="needed together"):
            LabelOptions(**{name: "file.pem"})
