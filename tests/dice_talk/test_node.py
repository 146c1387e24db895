"""The folder that a node works in, and what becomes of it."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dice_talk.node import DRAINING, NODE, Scratch, clear_leftovers, default_base, is_draining, is_rendering

HOLD = "import sys, time; from pathlib import Path; from dice_talk.node import Scratch\n"
HOLD += "scratch = Scratch(Path(sys.argv[1]))\n"
HOLD += (
    "with scratch.job(1) as folder:\n (folder / 'image').write_bytes(b'x'); print('there', flush=True); time.sleep(600)"
)


def folders(base: Path) -> list[Path]:
    return [path for path in base.iterdir() if path.is_dir()]


def test_a_job_has_an_empty_folder_that_goes_with_it(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    with pytest.raises(ValueError, match="broke"), scratch.job(7) as folder:
        assert list(folder.iterdir()) == []
        (folder / "image").write_bytes(b"x")
        raise ValueError("broke")
    assert not folder.exists()
    scratch.remove()
    assert folders(tmp_path) == []


def test_what_a_killed_process_leaves_goes_with_the_next_start(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"there\n"
    clear_leftovers(tmp_path)
    own = Scratch(tmp_path)
    assert len(folders(tmp_path)) == 2, "it is in use"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    clear_leftovers(tmp_path)
    assert folders(tmp_path) == [own.folder]
    own.remove()


def test_a_folder_without_a_lock_is_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    clear_leftovers(tmp_path)
    assert folders(tmp_path) == []


def test_nobody_else_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    base = default_base()
    assert base.stat().st_mode & 0o777 == 0o700
    base.rmdir()
    base.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        default_base()


def test_what_a_node_that_is_drained_still_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Scratch(tmp_path)
    assert not is_draining()
    monkeypatch.setenv(NODE, str(node.folder))
    assert not is_draining()
    (node.folder / DRAINING).touch()
    assert is_draining()
    actor = Scratch(tmp_path)
    assert not is_rendering(node)
    with actor.job(1):
        assert is_rendering(node)
    assert not is_rendering(node)
    monkeypatch.setenv(NODE, str(tmp_path / "other"))
    other = Scratch(tmp_path)
    with other.job(1):
        assert not is_rendering(node), "it is another node's"
    for scratch in (other, actor, node):
        scratch.remove()
