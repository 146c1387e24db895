from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_are_the_documented_limits(folder: Path) -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.workers, settings.queue_size) == ("127.0.0.1", 8000, 2, 100)
    assert (settings.retention_hours, settings.engine) == (24, "auto")
    assert (settings.max_image_bytes, settings.max_audio_bytes) == (10 * 2**20, 50 * 2**20)


def test_environment_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config.toml").write_text('port = 9000\nengine = "lite"\n')
    monkeypatch.setenv("DICE_TALK_PORT", "9001")
    settings = Settings()
    assert (settings.port, settings.engine) == (9001, "lite")


def test_another_file_can_be_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.toml").write_text("workers = 3\n")
    monkeypatch.setenv("DICE_TALK_CONFIG", "mine.toml")
    assert Settings().workers == 3


@pytest.mark.parametrize("line", ["port = 70000", "colour = 1", 'engine = "best"', "workers = 0"])
def test_wrong_settings_are_refused(folder: Path, line: str) -> None:
    (folder / "config.toml").write_text(line)
    with pytest.raises(ValidationError):
        Settings()


def test_the_shipped_file_names_every_setting_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "config.toml").read_text()
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    for name, default in defaults.items():
        line = next((line for line in text.splitlines() if line.startswith(f"# {name} = ")), None)
        assert line, f"{name} is missing"
        if name != "database_url":
            value = line.split("=")[1].split("#")[0].strip().strip('"')
            assert value == f"{default:g}" if isinstance(default, float) else value == str(default)
