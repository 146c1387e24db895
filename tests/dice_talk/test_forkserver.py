import signal

import pytest

from dice_talk.child import CPU_SECONDS, End
from dice_talk.forkserver import OUT_OF_MEMORY, judge


@pytest.mark.parametrize(
    ("code", "seconds", "end"),
    [
        (0, 0.1, End.DONE),
        (1, 0.1, End.FAILED),
        (OUT_OF_MEMORY, 0.1, End.LIMIT),
        (-signal.SIGSEGV, 0.1, End.LIMIT),
        (-signal.SIGXCPU, CPU_SECONDS, End.LIMIT),
        (-signal.SIGKILL, CPU_SECONDS - 0.1, End.LIMIT),
        (-signal.SIGKILL, 1.0, End.KILLED),
        (-signal.SIGTERM, 1.0, End.KILLED),
    ],
)
def test_how_a_child_ended(code: int, seconds: float, end: End) -> None:
    assert judge(code, seconds) is end
