"""The service put together by hand: real parts, no engine, no server. Nothing is rendered unless a test says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import FastAPI

from api.http import errors, routes
from api.http.access import Access, OwnRate
from api.http.services import Services
from api.inspection.children import Children
from api.inspection.intake import Inspector
from api.inspection.preflight import Preflight
from api.inspection.receipts import Receipts
from api.inspection.verification import Verification
from api.keys import KeyFile
from api.metrics import Metrics
from api.rendering.dispatcher import Dispatcher
from api.schemas.options import BOUNDS
from api.service.admission import Admission
from api.service.synthesis import Synthesis
from api.settings import Settings
from api.storage.local import LocalFiles
from api.tasks.model import Render, Task, TaskStatus
from api.tasks.store import TaskStore
from tests.api.made import NOW, accept, work
from tests.api.rendering.memory import MemorySlot, MemorySlots


@dataclass
class Parts:
    """`now` is what the clock shows."""

    settings: Settings
    store: TaskStore
    files: LocalFiles
    dispatcher: Dispatcher
    children: Children
    admission: Admission
    synthesis: Synthesis
    services: Services
    app: FastAPI
    times: list[datetime]

    def wait(self, task_id: str, owner: str | None = None, **changes: Any) -> Render:
        """Accept a task that waits in the queue."""
        render = accept(self.store, self.files, task_id, owner, **changes)
        self.dispatcher.enqueue(render.number, render.id)
        return render

    def finish(self, task_id: str, video: bytes = b"0123456789") -> None:
        """Complete a render, as a slot would."""
        self.store.update(task_id, TaskStatus.PROCESSING, attempts=1, started_at=NOW, updated_at=NOW)
        attempt = self.files.begin(task_id)
        work(self.files, attempt, video=video)
        sha256 = self.files.commit(attempt)
        end: dict[str, Any] = {"progress": 1.0, "message": "Completed", "stage": "done", "result": {}}
        self.store.update(
            task_id, TaskStatus.COMPLETED, sha256=sha256, finished_at=self.times[0], updated_at=self.times[0], **end
        )

    def task(self, task_id: str) -> Task:
        snapshot = self.store.snapshot(task_id)
        assert snapshot
        return snapshot.task


def make_parts(
    settings: Settings,
    store: TaskStore,
    files: LocalFiles,
    slots: Sequence[MemorySlot] = (),
    keys: KeyFile | None = None,
) -> Parts:
    times = [NOW]
    clock: Callable[[], datetime] = lambda: times[0]  # noqa: E731
    metrics, children = Metrics(lambda: []), Children()
    dispatcher = Dispatcher(store, files, MemorySlots(*slots), attempts=settings.attempts, clock=clock, metrics=metrics)
    admission = Admission(settings, store, files, dispatcher, Inspector(children), clock=clock)
    synthesis = Synthesis(settings, store, files, dispatcher, admission, clock=clock, gpu=False)
    services = Services(
        settings=settings,
        files=files,
        metrics=metrics,
        access=Access(keys, OwnRate(settings.key_requests_per_minute)),
        admission=admission,
        synthesis=synthesis,
        preflight=Preflight(settings, children, synthesis.foresee),
        receipts=Receipts(settings, files, children),
        verification=Verification(store, children),
    )
    app = FastAPI()
    app.state.services = services
    routes.install(app, keys=keys is not None)
    errors.install(app, BOUNDS)
    return Parts(settings, store, files, dispatcher, children, admission, synthesis, services, app, times)
