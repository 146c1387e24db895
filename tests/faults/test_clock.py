"""Somebody sets the machine's clock."""

import time
from pathlib import Path

import libfaketime

from tests.faults.process import server_process
from tests.waiting import wait_for

SWEEP_S = 0.1


def test_a_day_forth_and_back_costs_no_video(tmp_path: Path, portrait: Path, speech: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    variables = libfaketime.get_reload_information()[1] | {"FAKETIME_TIMESTAMP_FILE": str(offset)}
    with server_process(tmp_path, "quick", variables=variables, retention_hours=1.0, sweep_seconds=SWEEP_S) as service:
        tasks = []
        for jump in ("+0", "+1d", "-1d", "+0"):
            offset.write_text(jump)
            wait_for(lambda: service.health()["status"] == "healthy")
            tasks.append(service.submit(portrait, speech))
            assert service.wait(tasks[-1])["status"] == "COMPLETED"
            time.sleep(5 * SWEEP_S)
            assert [service.download(task).status_code for task in tasks] == [200] * len(tasks)
        assert service.terminate() == 0
