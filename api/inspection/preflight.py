"""Finds what would become of a portrait and a recording, with `dice_talk.preflight` in a child process."""

from collections.abc import Callable
from pathlib import Path

from api.errors import InvalidValue
from api.inspection.children import Children
from api.inspection.intake import undecodable_audio, undecodable_image
from api.inspection.semaphore import FairSemaphore
from api.schemas.preflight import PreflightFound
from api.schemas.tasks import SecondsRange
from api.settings import Settings
from api.tasks.forecast import Workload
from dice_talk.engines import EngineChoice, choose_engine
from dice_talk.error_codes import ErrorCode
from dice_talk.options import RenderOptions

TIMEOUT_S = 60.0


class Preflight:
    """Inspects files before a task begins, a few at a time."""

    def __init__(
        self, settings: Settings, children: Children, foresee: Callable[[Workload], SecondsRange | None]
    ) -> None:
        """`foresee`: returns how long a render with that workload takes, or None if that is not known."""
        self._settings, self._children, self._foresee = settings, children, foresee
        self._semaphore = FairSemaphore()

    async def inspect(
        self, image: Path | None, audio: Path | None, engine: EngineChoice, options: RenderOptions
    ) -> PreflightFound:
        """Return what would become of a portrait, a recording or both.

        Raises `DiceTalkError` for a file that cannot be used, `InvalidValue` without any, and what `FairSemaphore` and
        `Children` raise.
        """
        if not (image or audio):
            raise InvalidValue(ErrorCode.NO_FILE, "Neither image nor audio was sent", "Send one of them, or both.")
        wanted = self._settings.engine if engine == "auto" else engine
        engine_name = choose_engine(wanted, self._settings.checkpoints_dir)
        async with self._semaphore.acquire():
            found = await self._children.ask(
                "dice_talk.preflight",
                engine_name,
                options.model_dump_json(),
                str(image or "-"),
                str(audio or "-"),
                seconds=TIMEOUT_S,
            )
        if image and "image" not in found:
            raise undecodable_image()
        if audio and "audio" not in found:
            raise undecodable_audio()
        parts = [found[name] for name in ("image", "audio") if name in found]
        warnings = [warning for part in parts for warning in part.pop("warnings")]
        answer = PreflightFound(
            image=found.get("image"), audio=found.get("audio"), warnings=warnings, engine=engine_name, eta_seconds=None
        )
        seconds = answer.audio.used_seconds if answer.audio else options.duration
        if answer.image and answer.image.output and seconds:
            video = answer.image.output
            answer.eta_seconds = self._foresee(Workload.of(engine_name, options, video.width * video.height, seconds))
        return answer
