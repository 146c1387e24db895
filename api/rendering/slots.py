"""The seam behind which rendering happens: a slot renders one job at a time, on this machine or elsewhere."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from api.storage.files import Attempt, RenderFiles
from dice_talk.engine import Progress, RenderResult
from dice_talk.errors import DiceTalkError
from dice_talk.labels import Labels
from dice_talk.options import RenderOptions

OnProgress = Callable[[Progress], Awaitable[None]]


class RenderRefused(DiceTalkError):
    """The engine says that the input is to blame: another attempt would fail in the same way."""


class Loss(Enum):
    """Why an attempt was lost, as far as that decides what a client can do."""

    CRASH = auto()
    MEMORY = auto()
    SILENCE = auto()


class EngineLost(Exception):
    """The engine crashed, hung, was killed or did not start. The message says which."""

    def __init__(self, message: str, loss: Loss = Loss.CRASH) -> None:
        super().__init__(message)
        self.loss = loss


class NodeLost(Exception):
    """The machine or the process that a slot is in has ended, or no longer answers. The render is not to blame."""


class NoRoom(Exception):
    """The video could not be written: the disk is full or read-only."""

    def __init__(self) -> None:
        super().__init__("the server's disk is full or cannot be written to")


@dataclass(frozen=True)
class SlotJob:
    """One attempt at one render. The slot gets its inputs from `files`, and leaves output and state there."""

    engine: str
    options: RenderOptions  # `seed` is set
    labels: Labels
    files: RenderFiles
    attempt: Attempt


class Slot(Protocol):
    """One place to render at."""

    name: str  # for people
    location: str  # "local", or the name of a node
    device: str  # what it computes on, as far as it knows: "cpu", "gpu"
    engine: str | None  # whose models it has loaded
    busy: bool
    broken: str | None  # why its engine could not be started the last time

    def ready(self, engine: str) -> bool:
        """Whether the engine's models are in memory."""
        ...

    async def warm_up(self, engine: str) -> None:
        """Start the engine, if it does not run. Raises `EngineLost` or `RenderRefused`."""
        ...

    def reserve(self, engine: str, *, alone: bool) -> AbstractAsyncContextManager[None]:
        """Wait until the slot may render. `alone`: no other render may share the engine's process meanwhile."""
        ...

    async def render(self, job: SlotJob, on_progress: OnProgress) -> RenderResult:
        """Render a job to its attempt's output. Cancelling stops the render.

        Raises `RenderRefused`, `EngineLost`, `NodeLost` or `NoRoom`; unless the slot has gone, the next call finds a
        working engine.
        """
        ...


class SlotPool(Protocol):
    """The slots of a service, and what they share."""

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots at present. After `start`, they may come and go."""
        ...

    @property
    def problem(self) -> str | None:
        """Why there are no slots, or why they may go; None if all is well."""
        ...

    @property
    def reachable(self) -> bool:
        """Whether slots can come: if not, tasks wait in vain."""
        ...

    async def start(self, engine: str, demand: Callable[[], int], changed: Callable[[], None]) -> None:
        """Begin to provide slots.

        `engine` is loaded ahead. `demand`: returns how many renders wait or run. `changed` is called when a slot has
        come or gone.
        """
        ...

    async def rest(self) -> None:
        """Hold nothing that another server needs, which dispatches now. `start` begins anew."""
        ...

    async def close(self) -> None:
        """End everything that the slots have started."""
        ...
