import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AUTOGROUP = Path("/proc/self/autogroup")
"""Name and niceness of the session; empty in the system's first session, which has none."""
CODE = """
import json, os
from pathlib import Path
from dice_talk.priority import lower_priority

lower_priority(7)
print(json.dumps([os.nice(0), Path("/proc/self/autogroup").read_text().strip()]))
"""


@pytest.mark.parametrize("leads", [True, False])
def test_a_process_gives_way_and_takes_nobody_with_it(leads: bool) -> None:
    """Only whoever leads a session speaks for all of it."""
    if not AUTOGROUP.exists():
        pytest.skip("this kernel does not share the cores between sessions")
    before = AUTOGROUP.read_text().strip()
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=leads)
    niceness, group = json.loads(done.stdout)
    assert niceness == min(19, os.nice(0) + 7)
    assert group.endswith(" nice 7") if leads else group == before
    assert AUTOGROUP.read_text().strip() == before
