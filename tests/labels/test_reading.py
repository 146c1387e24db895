import json
from pathlib import Path

import av
import pytest

from dice_talk.errors import RenderFailed
from dice_talk.labels import Labels, reading, xmp
from dice_talk.labels.boxes import box, boxes, moov_first
from dice_talk.video import verify
from tests.labels.files import KEYS, NAMED, decoded, tags, write


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
    assert reading.read(bare) == reading.FileLabels(None, None, None, None)
    with pytest.raises(RenderFailed):
        verify(bare, result, NAMED)


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
