from pathlib import Path

import pytest

from dice_talk.labels import SOURCE_TYPES, xmp
from dice_talk.labels.boxes import box


@pytest.mark.parametrize("packet", [b"<x", b"<a>&lol;</a>", b"", b"\xff\xfe", b"<a/>"])
def test_a_broken_packet_says_nothing(tmp_path: Path, packet: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(box(b"uuid", xmp.UUID + packet) + box(b"uuid", b"short"))
    with path.open("rb") as file:
        assert xmp.source_type(file) is None


def said(path: Path) -> str | None:
    with path.open("rb") as file:
        return xmp.source_type(file)


def packet(body: str) -> bytes:
    opening = '<r xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    return box(b"uuid", xmp.UUID + f"{opening}{body}</r>".encode())


def test_what_is_appended_is_found_and_moves_nothing(tmp_path: Path) -> None:
    path, before = tmp_path / "file", box(b"ftyp", b"isom") + box(b"mdat", bytes(100))
    path.write_bytes(before)
    assert said(path) is None
    xmp.append(path, "compositeSynthetic")
    assert path.read_bytes().startswith(before) and said(path) == "compositeSynthetic"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            f"<e:DigitalSourceType>{SOURCE_TYPES}virtualRecording</e:DigitalSourceType>",
            "virtualRecording",
        ),
        ("<e:DigitalSourceType> of my own </e:DigitalSourceType>", "of my own"),
        ('<d e:DigitalSourceType="as an attribute"/>', "as an attribute"),
        ("<e:Other>x</e:Other>", None),
    ],
)
def test_what_others_write(tmp_path: Path, body: str, found: str | None) -> None:
    (tmp_path / "file").write_bytes(packet(body))
    assert said(tmp_path / "file") == found


def test_the_first_packet_that_says_something_counts(tmp_path: Path) -> None:
    sayings = [packet("<e:Other/>"), packet('<d e:DigitalSourceType="a"/>'), packet('<d e:DigitalSourceType="b"/>')]
    (tmp_path / "file").write_bytes(b"".join(sayings))
    assert said(tmp_path / "file") == "a"


def test_a_huge_packet_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(packet('<d e:DigitalSourceType="a"/>' + " " * xmp.MAX_BYTES))
    assert said(tmp_path / "file") is None
