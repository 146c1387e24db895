import tempfile
from pathlib import Path

import pytest

WITHOUT_RAY = {"test_driver_process.py", "test_nodes.py", "test_plan.py", "test_slots.py"}


@pytest.fixture(autouse=True)
def _in_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Objects lie in this process, and folders of actors in the test's own."""
    if request.path.name in WITHOUT_RAY:
        return
    import ray

    from tests.api.rendering.cluster.local import Object

    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr(ray, "put", Object)
