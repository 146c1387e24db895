"""Which files are needed, and what the weights in a folder are called."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dice_talk.diffusion import files
from dice_talk.diffusion.checksums import CHECKSUMS, Checksum, checksum_of, note
from dice_talk.diffusion.files import NEEDED_FILES, PUBLISHED, UNVERIFIED, weights_label, write_label
from dice_talk.emotions import Emotion


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    """A folder in which everything that is needed was downloaded."""
    for path in NEEDED_FILES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    noted = {path: asdict(checksum_of(tmp_path / path)) for path in NEEDED_FILES}
    (tmp_path / CHECKSUMS).write_text(json.dumps(noted))
    return tmp_path


def test_every_file_has_a_place_of_its_own() -> None:
    sources = [source.path for source in files.HUB_FILES]
    assert len({*sources, *files.PRIORS}) == len(sources) + len(Emotion)
    assert {*NEEDED_FILES, *files.OPTIONAL_FILES} == {*sources, *files.PRIORS}
    assert not set(files.OPTIONAL_FILES) & set(NEEDED_FILES)


def test_names_on_the_hub_are_those_in_the_folder() -> None:
    """Below the name of the model, where it has a folder of its own."""
    for source in files.HUB_FILES:
        model = source.repo.partition("/")[2]
        assert source.path in (source.name, f"{model}/{source.name}")
        assert source.licence


def test_what_was_downloaded_is_published(fetched: Path) -> None:
    assert weights_label(fetched) == PUBLISHED


@pytest.mark.parametrize("path", [NEEDED_FILES[0], NEEDED_FILES[-1]])
def test_a_file_that_is_missing_or_changed_leaves_doubt(fetched: Path, path: str) -> None:
    (fetched / path).write_text("of quite another size")
    assert weights_label(fetched) == UNVERIFIED
    (fetched / path).unlink()
    assert weights_label(fetched) == UNVERIFIED


def test_a_file_that_was_not_downloaded_leaves_doubt(fetched: Path) -> None:
    note(fetched, files.UNET, Checksum(1, "aa"))
    assert weights_label(fetched) == UNVERIFIED


def test_optional_files_do_not_count(fetched: Path) -> None:
    (fetched / files.YOLOFACE).write_text("any detector")
    assert weights_label(fetched) == PUBLISHED


def test_a_label_outweighs_everything(fetched: Path) -> None:
    write_label(fetched, "tiny random weights")
    assert weights_label(fetched) == "tiny random weights"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"label": ""}', b'{"label": 3}', b"{}", b"\xff", b"[" * 100_000])
def test_a_label_that_says_nothing_leaves_doubt(fetched: Path, content: bytes) -> None:
    (fetched / "weights.json").write_bytes(content)
    assert weights_label(fetched) == UNVERIFIED


def test_a_folder_need_not_exist(tmp_path: Path) -> None:
    assert weights_label(tmp_path / "nowhere") == UNVERIFIED


def test_every_emotion_has_a_prior() -> None:
    assert files.prior_path(Emotion.DISGUSTED) == "emo/disgusted.npy"
    assert [Path(path).stem for path in files.PRIORS] == list(Emotion)
