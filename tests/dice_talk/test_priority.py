import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("leads", [True, False])
def test_a_process_gives_way_and_takes_nobody_with_it(leads: bool) -> None:
    """Only whoever leads a session speaks for all of it."""
    code = "from dice_talk.priority import give_way; give_way(7)\nprint(open('/proc/self/autogroup').read())"
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this kernel does not share the cores between sessions")
    before = Path("/proc/self/autogroup").read_text()
    done = subprocess.run(
        [sys.executable, "-c", code + "\nimport os; print(os.nice(0))"],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=leads,
    )
    group, _, niceness = done.stdout.split("\n")[:3]
    assert int(niceness) == os.nice(0) + 7
    assert group.endswith("nice 7") == leads
    assert Path("/proc/self/autogroup").read_text() == before
