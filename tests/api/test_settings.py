import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import Settings
from tests.conftest import ROOT


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


def refusal(folder: Path, **variables: str) -> str:
    """What a server says that cannot start."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DICE_TALK_PORT": "0", **variables}
    command = [sys.executable, "-m", "api.server"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"DICE_TALK_WORKER": "3"}, "there is no setting DICE_TALK_WORKER"),
        ({"DICE_TALK_WORKERS": "many"}, "wrong setting: workers"),
        ({"DICE_TALK_RETENTION_HOURS": "inf"}, "wrong setting: retention_hours"),
        ({"DICE_TALK_CONFIG": "nofile.toml"}, "nofile.toml, named by DICE_TALK_CONFIG, is not there"),
        ({"DICE_TALK_DATABASE_URL": "rubbish"}, "wrong setting: database_url"),
        ({"DICE_TALK_DATABASE_URL": "mysql+pymysql://x/y"}, "wrong setting: database_url"),
        ({"DICE_TALK_HOST": "192.0.2.1"}, "Choose another host with DICE_TALK_HOST"),
        ({"DICE_TALK_LOG_DIR": "/proc/y"}, "the log folder /proc/y cannot be used"),
        ({"DICE_TALK_DATA_DIR": "/proc/y"}, "the data folder /proc/y cannot be used"),
        ({"DICE_TALK_ENGINE": "diffusion"}, "Engine 'diffusion' is not available"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, variables: dict[str, str], words: str) -> None:
    said = refusal(folder, **variables)
    assert words in said
    assert said.count("\n") == 1


def test_a_mistake_in_the_file_is_named(folder: Path) -> None:
    (folder / "config.toml").write_text("prot = 1\n")
    assert "there is no setting prot" in refusal(folder)
    (folder / "config.toml").write_text("port = \n")
    assert "the settings file cannot be read" in refusal(folder)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is float])
def test_numbers_are_finite(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})


def test_the_shipped_file_names_every_setting_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "config.toml").read_text()
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    for name, default in defaults.items():
        line = next((line for line in text.splitlines() if line.startswith(f"# {name} = ")), None)
        assert line, f"{name} is missing"
        if default is not None:
            value = line.split("=")[1].split("#")[0].strip().strip('"')
            spelt = f"{default:g}" if isinstance(default, float) else str(default)
            assert value == (spelt.lower() if isinstance(default, bool) else spelt)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://my.bucket/a/b/", "gs://b/p", "az://c/p", "file:///srv/files"])
def test_addresses_of_object_stores(url: str) -> None:
    assert Settings(storage_url=url).storage_url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "/srv",
        "s3:/b",
        "s3://",
        "http://b/p",
        "s3://id:secret@b/p",
        "s3://b/p?key=1",
        "s3://b/../p",
        "file://x",
    ],
)
def test_what_is_no_address_of_an_object_store_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="credentials and endpoint belong in environment variables"):
        Settings(storage_url=url)


def test_networks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        Settings(webhook_networks="127.0.0.0/8, localhost")


@pytest.mark.parametrize("origins", ["https://page.example/", "page.example", "https://a.example https://b.example"])
def test_origins_that_no_browser_sends_are_refused(origins: str) -> None:
    with pytest.raises(ValueError, match="scheme, host and port"):
        Settings(cors_origins=origins)
