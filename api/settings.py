"""The operator's settings: `config.toml`, overridden by environment variables named DICE_TALK_*."""

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import ceil
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from dice_talk.engine import Precision, Tuning
from dice_talk.engines import REFUSED, EngineChoice
from dice_talk.labels import LabelOptions

CONFIG_FILE = "config.toml"
MEGABYTE = 1024 * 1024
ORIGIN = re.compile(r"\*|https?://[^/\s*]+")
"""An origin as browsers send it. A star matches any."""
HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
"""A name as in a Host header, without a port; IPv6 in brackets. A star matches any name, or any below a domain."""
STORAGE = re.compile(r"((s3|gs|az)://[A-Za-z0-9._-]+|file:///[A-Za-z0-9._-]+)(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*/?")
"""A bucket or a folder, and a prefix. No name, password or query: credentials are in the environment."""
SUB_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
"""Only characters that mean the same to every proxy, encoded or not, and no `.` or `..` segments."""
OWN_PATHS = ("api", "docs", "metrics", "openapi.json", "redoc", "static-offline-docs", "web")
"""First segments of the service's own paths. Below one, it would be unclear whether a proxy removed the prefix."""


OTHER_VARIABLES = {
    "DICE_TALK_CONFIG",
    "DICE_TALK_NODE",
    "DICE_TALK_SERVER",
    "DICE_TALK_API_KEY",
    "DICE_TALK_PARITY_DIR",
    "DICE_TALK_EMO_URL",
}
"""Variables with this prefix that other parts of the project read."""


class StartError(Exception):
    """The service cannot start. The message is one line for the operator."""


class Settings(BaseSettings, LabelOptions):
    """Made once, in `api.server.main`, and passed down. Relative paths are relative to the working directory."""

    model_config = SettingsConfigDict(env_prefix="DICE_TALK_", extra="forbid", frozen=True, allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every network interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    root_path: str = Field("", description="Path below which a proxy serves the service, such as /talk; default: none.")
    trusted_proxies: str = Field(
        "",
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto apply: 127.0.0.1, 10.1.0.0/16; default: none.",
    )
    data_dir: Path = Field(Path("data"), description="Uploads, results and the database.")
    checkpoints_dir: Path = Field(Path("checkpoints"), description="Weights of the diffusion engine.")
    log_dir: Path = Field(Path("logs"), description="Holds api.log.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe level logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of the log: lines for people, or JSON objects."
    )
    database_url: str | None = Field(
        None, repr=False, description="SQLAlchemy URL; default: SQLite in the data folder."
    )
    storage_url: str | None = Field(
        None, description="Object store for uploads and results: s3://bucket/prefix; default: the data folder."
    )
    download_redirect: bool = Field(
        False, description="Send downloads on to the object store, by an address that is valid for five minutes."
    )
    engine: EngineChoice = Field("auto", description="Engine for requests that say auto.")
    workers: int = Field(2, ge=1, le=64, description="Tasks rendered at the same time.")
    render_on: Literal["local", "ray"] = Field(
        "local", description="Where tasks are rendered: on this machine, or on the nodes of a Ray cluster."
    )
    ray_address: str = Field(
        "auto", min_length=1, description="Address of the Ray cluster: HOST:PORT, or auto for the one on this machine."
    )
    max_slots: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Most tasks rendered at the same time on a Ray cluster, however many nodes it has.",
    )
    idle_slot_seconds: float = Field(
        0.0,
        ge=0,
        description="On a Ray cluster, a slot that was idle for so long ends, and its node can be removed; 0: never.",
    )
    queue_size: int = Field(100, ge=1, description="Tasks that may wait; further ones are answered with 503.")
    retention_hours: float = Field(24.0, gt=0, le=87_600, description="How long uploads and results are kept.")
    sweep_seconds: float = Field(60.0, gt=0, description="How often expired tasks are removed.")
    max_image_mb: float = Field(10.0, gt=0, description="Largest image file, in MiB.")
    max_audio_mb: float = Field(50.0, gt=0, description="Largest audio file, in MiB.")
    max_video_mb: float = Field(500.0, gt=0, description="Largest video file to be verified, in MiB.")
    uploads: int = Field(128, ge=1, description="Uploads at the same time; further ones are answered with 503.")
    min_free_mb: float = Field(200.0, ge=0, description="Free disk space, in MiB, below which no tasks are accepted.")
    upload_seconds: float = Field(300.0, gt=0, description="How long one upload may take.")
    attempts: int = Field(3, ge=1, description="How often a task is tried if its engine process crashes or hangs.")
    stall_seconds: float = Field(
        120.0, gt=0, description="An engine process that reports nothing for so long is restarted."
    )
    compile: bool = Field(False, description="Compile the diffusion engine's UNet at the start; for NVIDIA GPUs.")
    all_gpus: bool = Field(
        False, description="Denoise each video on all GPUs of the same model, not on the first alone."
    )
    precision: Precision = Field(
        Precision.AUTO,
        description="Numbers that the diffusion engine computes in; auto: fp16 on NVIDIA GPUs, else fp32.",
    )
    load_seconds: float = Field(600.0, gt=0, description="How long an engine may take to load its models.")
    api_keys_file: Path | None = Field(
        None, description="File made by python -m api.keys; if set, requests need a key."
    )
    key_queue_size: int = Field(
        20, ge=1, description="Tasks of one key that may wait; further ones are answered with 429."
    )
    key_requests_per_minute: int = Field(
        600, ge=1, le=100_000, description="Requests per minute with one key; further ones are answered with 429."
    )
    webhook_secret: SecretStr | None = Field(
        None, description="Secret that signs callbacks: whsec_ and base64; default: made once, in the data folder."
    )
    webhook_seconds: float = Field(10.0, gt=0, le=60, description="How long a callback's receiver may take to answer.")
    webhook_networks: str = Field(
        "", description="Private networks that callbacks may go to, separated by commas: 10.1.0.0/16."
    )
    cors_origins: str = Field(
        "",
        description="Sites whose pages may use the API from a browser, separated by commas: https://example.org.",
    )
    allowed_hosts: str = Field(
        "", description="Host names that clients may use for the server: example.org, *.example.org; default: any."
    )
    shutdown_seconds: float = Field(10.0, ge=0, description="How long running tasks may go on after SIGTERM.")

    visible_label_optional: bool = Field(
        False, description="Whether a request may decline the visible label; such requests are logged for six months."
    )
    verify_days: float = Field(
        365.0, gt=0, le=36_500, description="How long hashes of videos are kept, so that verify recognises them."
    )

    @property
    def tuning(self) -> Tuning:
        """How engines may use this machine."""
        return Tuning(compiled=self.compile, all_gpus=self.all_gpus, precision=self.precision)

    @property
    def several_servers(self) -> bool:
        """Whether other servers may use the same database, and then the same files."""
        return (self.database_url or "").startswith("postgresql")

    @property
    def max_image_bytes(self) -> int:
        """Largest image file in bytes."""
        return int(self.max_image_mb * MEGABYTE)

    @property
    def uploads_of_one_client(self) -> int:
        """An eighth of `uploads` is reserved for others. One client can still fill a queue of 100 at once."""
        return max(1, self.uploads - ceil(self.uploads / 8))

    @property
    def max_audio_bytes(self) -> int:
        """Largest audio file in bytes."""
        return int(self.max_audio_mb * MEGABYTE)

    @property
    def max_video_bytes(self) -> int:
        """Largest video file in bytes."""
        return int(self.max_video_mb * MEGABYTE)

    @field_validator("cors_origins")
    @classmethod
    def _look_like_origins(cls, origins: str) -> str:
        for origin in _split(origins):
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin} is not scheme, host and port alone, as https://example.org is")
        return origins

    @property
    def allowed_origins(self) -> list[str]:
        """The origins in `cors_origins`."""
        return _split(self.cors_origins)

    @field_validator("allowed_hosts")
    @classmethod
    def _look_like_hosts(cls, hosts: str) -> str:
        for host in _split(hosts):
            if not HOST.fullmatch(host):
                raise ValueError(
                    f"{host} is not a name or address alone, as example.org, 192.0.2.1 and [2001:db8::1] are"
                )
        return hosts

    @property
    def known_hosts(self) -> list[str]:
        """The names in `allowed_hosts`; a star for any."""
        return _split(self.allowed_hosts) or ["*"]

    @field_validator("root_path")
    @classmethod
    def _looks_like_a_path(cls, path: str) -> str:
        path = path.removesuffix("/")
        if not SUB_PATH.fullmatch(path):
            raise ValueError(f"{path} is not a path such as /talk, of letters, digits, and - . _ ~")
        if path.split("/")[1:2] in ([name] for name in OWN_PATHS):
            raise ValueError(f"{path} begins like a path of the service's own; choose another, such as /talk")
        return path

    @field_validator("storage_url")
    @classmethod
    def _looks_like_a_bucket(cls, url: str | None) -> str | None:
        if url is not None and not STORAGE.fullmatch(url):
            raise ValueError(
                "it is not s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder; "
                "credentials and endpoint belong in environment variables (docs/scale.md)"
            )
        return url

    @field_validator("webhook_networks", "trusted_proxies")
    @classmethod
    def _look_like_networks(cls, networks: str) -> str:
        for network in _split(networks):
            ip_network(network)
        return networks

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """The networks in `trusted_proxies`."""
        return [ip_network(network) for network in _split(self.trusted_proxies)]

    @property
    def callback_allowed(self) -> list[IPv4Network | IPv6Network]:
        """The networks in `webhook_networks`."""
        return [ip_network(network) for network in _split(self.webhook_networks)]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: arguments, environment, the file named by DICE_TALK_CONFIG or config.toml."""
        named = os.environ.get("DICE_TALK_CONFIG")
        file = Path(named or CONFIG_FILE)
        if named and not file.is_file():
            raise ValueError(f"the settings file {file}, named by DICE_TALK_CONFIG, is not there")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


def _split(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]


def load_settings() -> Settings:
    """Load the settings. Raises `StartError`, which names what is wrong."""
    try:
        settings = Settings()
    except ValidationError as error:
        reasons = [
            f"there is no setting {item['loc'][0]}"
            if item["type"] == "extra_forbidden"
            else f"{item['loc'][0]}: {item['msg']}"
            for item in error.errors()
        ]
        if any(item["loc"] == ("engine",) for item in error.errors()):
            reasons += map(str, REFUSED)
        raise StartError(f"wrong setting: {'; '.join(reasons)}") from error
    except ValueError as error:
        raise StartError(f"the settings file cannot be read: {error}") from error
    known = {f"DICE_TALK_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = sorted(name for name in os.environ if name.startswith("DICE_TALK_") and name not in known)
    if unknown:
        raise StartError(f"there is no setting {', '.join(unknown)}; config.toml lists all")
    return settings
