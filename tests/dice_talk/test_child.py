import json
import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own: limits are for good."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_limits_are_lowered_and_never_raised() -> None:
    code = """
import resource
from dice_talk.child import limit
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 100))
limit(resource.RLIMIT_NOFILE, 200)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
limit(resource.RLIMIT_NOFILE, 30)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    assert run(code).stdout.split("\n")[:2] == ["(100, 100)", "(30, 30)"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS knows no limit on the address space")
def test_a_confined_process_gets_no_memory_for_a_bomb_and_leaves_no_core() -> None:
    code = """
import resource
from dice_talk.child import CPU_SECONDS, MEMORY_BYTES, confine
confine()
print(resource.getrlimit(resource.RLIMIT_AS)[0] <= MEMORY_BYTES)
print(resource.getrlimit(resource.RLIMIT_CPU)[0] <= CPU_SECONDS, resource.getrlimit(resource.RLIMIT_CORE)[0])
try:
    bytearray(MEMORY_BYTES)
except MemoryError:
    print("no memory")
"""
    assert run(code).stdout.splitlines() == ["True", "True 0", "no memory"]


def test_facts_are_a_line_of_json_that_is_there_at_once() -> None:
    done = run("import os; from dice_talk.child import say; say(width=3, name='é'); os._exit(7)")
    assert done.returncode == 7 and done.stdout.endswith("\n")
    assert json.loads(done.stdout) == {"width": 3, "name": "é"}


@pytest.mark.parametrize(
    ("error", "code", "facts"),
    [
        ("FileNotFoundError(2, 'gone', '/a/b.mp4')", 0, '{"missing": "/a/b.mp4"}\n'),
        ("PermissionError(13, 'no', '/a/b.mp4')", 1, ""),
        ("ValueError('x')", 1, ""),
    ],
)
def test_only_a_file_that_is_missing_is_reported(error: str, code: int, facts: str) -> None:
    done = run(f"from dice_talk.child import report_missing_files\nwith report_missing_files(): raise {error}")
    assert (done.returncode, done.stdout) == (code, facts)
