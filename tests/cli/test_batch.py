"""Which videos a command makes, where they go, and how their outcomes are reported."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from dice_talk.cli import codes
from dice_talk.cli.batch import STREAM, Input, Results, Video, planned, sorted_out
from dice_talk.cli.screen import Bars
from dice_talk.client import ServerUnreachable
from dice_talk.emotions import Emotion
from dice_talk.error_codes import ErrorCode
from dice_talk.errors import EngineUnavailable, InvalidAudio, InvalidImage, RenderFailed

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two portraits and two recordings, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for name in ("face.png", "man.wav", "other/face.png"):  # content counts, not the name
        (tmp_path / name).write_bytes(PNG)
    for name in ("hello.wav", "bye.mp3"):
        (tmp_path / name).write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(32))
    return tmp_path


def outputs(files: Sequence[str], output: str | None = None, *, force: bool = False) -> list[str]:
    with planned(files, [Emotion.SAD], output, force=force) as videos:
        return [str(video.output) for video in videos]


def test_every_portrait_with_every_recording() -> None:
    with planned(["hello.wav", "face.png", "bye.mp3", "man.wav"], [Emotion.SAD], None, force=False) as videos:
        pairs = [(video.portrait.typed, video.speech.typed) for video in videos]
    assert pairs == [
        ("face.png", "hello.wav"),
        ("face.png", "bye.mp3"),
        ("man.wav", "hello.wav"),
        ("man.wav", "bye.mp3"),
    ]
    assert videos[0].name == "face.png + hello.wav"


def test_every_emotion_of_a_pair_has_a_name_of_its_own() -> None:
    with planned(["hello.wav", "face.png"], [Emotion.SAD, Emotion.FEAR], "new/", force=False) as videos:
        assert [video.name for video in videos] == ["face.png + hello.wav, sad", "face.png + hello.wav, fear"]
        assert [str(video.output) for video in videos] == ["new/face-hello-sad.mp4", "new/face-hello-fear.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "portrait"),
    [
        ("a.jpg", b"text", True),
        ("a.webp", b"", True),
        ("a.jpg", b"RIFF\x24\0\0\0WAVEfmt " + bytes(32), False),
        ("a.txt", b"text", False),
    ],
)
def test_what_is_named_like_a_picture_is_a_broken_one(here: Path, name: str, content: bytes, portrait: bool) -> None:
    (here / name).write_bytes(content)
    portraits, speeches = sorted_out([name], here)
    assert [len(portraits), len(speeches)] == [portrait, not portrait]


def test_names_of_videos() -> None:
    assert outputs(["face.png", "hello.wav"]) == ["face-hello-sad.mp4"]
    assert outputs(["face.png", "hello.wav"], "out.mp4") == ["out.mp4"]
    assert outputs(["face.png", "hello.wav"], "other") == ["other/face-hello-sad.mp4"]
    assert outputs(["face.png", "hello.wav"], "new/") == ["new/face-hello-sad.mp4"]
    assert outputs(["face.png", "hello.wav", "bye.mp3"], "more") == ["more/face-hello-sad.mp4", "more/face-bye-sad.mp4"]
    assert outputs(["face.png", "hello.wav"], STREAM) == ["None"]


@pytest.mark.parametrize(
    ("files", "output", "words"),
    [
        (["face.png"], None, "A speech recording is missing"),
        (["hello.wav"], None, r"A portrait is missing: hello\.wav is no picture"),
        (["hello.wav", "bye.mp3"], None, r"hello\.wav; bye\.mp3 are no picture"),
        (["face.png", "hello.wav", "bye.mp3"], "out.mp4", "2 videos do not fit into one file"),
        (["face.png", "gone.wav"], None, "gone.wav: No such file"),
        (["face.png", "face.png", "hello.wav"], None, "face.png is named 2 times"),
        (["-", "face.png", "-"], None, "Standard input is named 2 times"),
        (["face.png", "hello.wav"], "no/such/out.mp4", "There is no folder no/such"),
        (["face.png", "hello.wav"], "hello.wav/", "File exists"),
        (["face.png", "man.wav", "hello.wav"], STREAM, "2 videos do not fit into one stream"),
        (["face.png", "other/face.png", "hello.wav"], None, "2 videos would be called face-hello-sad.mp4"),
    ],
)
def test_what_makes_no_sense(files: list[str], output: str | None, words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        outputs(files, output)


def test_a_terminal_shows_no_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(click.UsageError, match="A terminal shows no video"):
        outputs(["face.png", "hello.wav"], STREAM)


def test_videos_are_replaced_by_force_only(here: Path) -> None:
    (here / "face-hello-sad.mp4").touch()
    with pytest.raises(click.UsageError, match=r"There already: face-hello-sad\.mp4"):
        outputs(["face.png", "hello.wav", "bye.mp3"])
    assert len(outputs(["face.png", "hello.wav", "bye.mp3"], force=True)) == 2


def test_standard_input_is_kept_as_long_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PNG)))
    with planned(["-", "hello.wav"], [Emotion.SAD], None, force=False) as (video,):
        path = video.portrait.path
        assert path.read_bytes() == PNG
        assert (video.name, str(video.output)) == ("stdin + hello.wav", "stdin-hello-sad.mp4")
    assert not path.exists()


def video(output: Path | None, *, force: bool = False) -> Video:
    return Video(Input("a/face.png", Path("a/face.png")), Input(STREAM, Path("stdin")), Emotion.SAD, output, force)


def test_a_video_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with video(target).place() as path:
        path.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    with pytest.raises(InvalidImage), video(target, force=True).place() as path:
        path.write_bytes(b"half")
        raise InvalidImage(ErrorCode.IMAGE_DAMAGED, "It is damaged")
    with pytest.raises(FileExistsError), video(target).place() as path:
        path.write_bytes(b"another")
    assert target.read_bytes() == b"whole"
    assert not list(tmp_path.glob(".*"))


def test_a_video_for_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with video(None).place() as path:
        path.write_bytes(b"\0video\xff")
    assert capfdbinary.readouterr().out == b"\0video\xff"
    assert not path.exists()


def report(error: Exception | None, *, as_json: bool, output: Path | None = Path("out.mp4")) -> Results:
    results = Results(Bars(), as_json=as_json)
    with results.of(video(output)) as facts:
        if error:
            raise error
        facts["seed"] = 3
    return results


def test_a_video_that_was_made(capsys: Capture) -> None:
    assert report(None, as_json=False).code == codes.DONE
    assert tuple(capsys.readouterr()) == ("out.mp4\n", "")
    report(None, as_json=False, output=None)
    assert tuple(capsys.readouterr()) == ("", ""), "the video itself is there"
    report(None, as_json=True)
    named = {"portrait": "a/face.png", "speech": "-", "emotion": "sad"}
    assert json.loads(capsys.readouterr().out) == {**named, "output": "out.mp4", "seed": 3}


def odd_error() -> RenderFailed:
    """As an engine of another package may make one."""
    error = RenderFailed(ErrorCode.RENDER_FAILED, "It is odd")
    error.code = error.params = 7  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("error", "code", "named", "words", "facts"),
    [
        (
            InvalidImage(ErrorCode.IMAGE_SCANS, "{scans} scans", "At most {most}.", scans=9, most=5),
            codes.FAILED,
            "face.png",
            "9 scans. At most 5.",
            {"error": "9 scans", "detail": "At most 5.", "code": "image_scans", "params": {"scans": 9, "most": 5}},
        ),
        (
            EngineUnavailable(ErrorCode.PACKAGE_MISSING, "It is absent"),
            codes.NOT_THERE,
            "face.png + stdin",
            "It is absent",
            {"error": "It is absent", "detail": None, "code": "package_missing", "params": {}},
        ),
        (
            RenderFailed(ErrorCode.RENDER_FAILED, "At {place}", place=Path("/here"), far=float("inf")),
            codes.FAILED,
            "face.png + stdin",
            "At /here",
            {
                "error": "At /here",
                "detail": None,
                "code": "render_failed",
                "params": {"place": "/here", "far": "inf"},
            },
        ),
        (
            odd_error(),
            codes.FAILED,
            "face.png + stdin",
            "It is odd",
            {"error": "It is odd", "detail": None, "code": "render_failed", "params": {}},
        ),
        (
            InvalidAudio(ErrorCode.AUDIO_EMPTY, "It is empty"),
            codes.FAILED,
            "stdin",
            "It is empty",
            {"error": "It is empty", "detail": None, "code": "audio_empty", "params": {}},
        ),
        (
            OSError(28, "No space left on device"),
            codes.FAILED,
            "face.png + stdin",
            "No space left on device",
            {"error": "No space left on device", "detail": None, "code": "file_unreadable", "params": {}},
        ),
    ],
)
def test_a_failure_is_reported_and_the_next_video_goes_on(
    error: Exception, code: int, named: str, words: str, facts: dict[str, Any], capsys: Capture
) -> None:
    assert report(error, as_json=True).code == code
    output = capsys.readouterr()
    assert output.err == f"{named}: {words}\n"
    assert json.loads(output.out) == {"portrait": "a/face.png", "speech": "-", "emotion": "sad"} | facts
    report(error, as_json=False)
    assert capsys.readouterr().out == ""


def test_the_first_failure_gives_the_exit_code() -> None:
    results = Results(Bars(), as_json=False)
    for code in (ErrorCode.PACKAGE_MISSING, ErrorCode.IMAGE_DAMAGED):
        with results.of(video(None)):
            raise (EngineUnavailable if code is ErrorCode.PACKAGE_MISSING else InvalidImage)(code, "It is so")
    assert results.code == codes.NOT_THERE


def test_no_video_follows_where_the_server_is_gone() -> None:
    with pytest.raises(ServerUnreachable):
        report(ServerUnreachable(ErrorCode.SERVER_UNREACHABLE, "No server"), as_json=False)
