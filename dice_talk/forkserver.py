"""Forks a process for each look at files, with its imports done: `python -m dice_talk.forkserver MODULE...`.

A look at small files takes a few milliseconds, but Python's start and the imports take 50 times as long. This process
imports the modules once, then waits. Standard input is a Unix socket that brings the descriptor of another one for each
look. On that comes the request, a JSON line with the module and its arguments; back go the JSON lines that the module's
`main` prints, and last `{"ended": ...}`, an `End`. When its other end is closed, the child is killed; at the end of
standard input, all are, and this process ends.

It never starts a thread: of a process with threads, a fork copies only one, and locks that others hold stay locked.
"""

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from dice_talk.child import CPU_SECONDS, End, say

WITH_A_FILE = (
    *(f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Png", "Ppm")),
    "PIL.ImageColor",
    "av.subtitles.stream",
    "numpy.ma",
)
"""What Pillow, PyAV and numpy import with the first file, which would be every file of a process that has just begun:
30 ms, where the work takes 15.
"""
OUT_OF_MEMORY = 71
"""Exit code."""
KILLERS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Sent by somebody else: the system when memory runs out, or a person. A decoder that crashes gets others."""
ROUNDING = 0.9
"""The system counts a process's time for the limit more coarsely than for the one who waits for it."""


class ForkLoop:
    """Forks children and tells how they ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}  # by process id
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno())

    def serve(self) -> None:
        """Until the control socket is closed."""
        while True:
            waiting = [self._control, self._woken, *self._children.values()]
            ready = select.select(waiting, [], [])[0]
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            for pid, connection in self._children.items():
                if connection in ready:  # nothing is sent after the request, so this is its end
                    kill(pid)
            if self._control in ready and not self._accept():
                break
        for pid in self._children:
            kill(pid)
            os.waitpid(pid, 0)

    def _accept(self) -> bool:
        """Starts the look that the control socket brings. False at its end."""
        byte, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        if not byte:
            return False
        if not descriptors:  # this process has no room for one: the one who waits sees the connection's end
            return True
        connection = socket.socket(fileno=descriptors[0])
        request = _receive_line(connection)
        try:
            pid = os.fork() if request else None
        except OSError:  # no more processes: the one who waits sees the connection's end
            traceback.print_exc()
            pid = None
        if pid == 0:
            self._become_child(request, connection)
        if pid:
            self._children[pid] = connection
        else:
            connection.close()
        return True

    def _become_child(self, request: bytes, connection: socket.socket) -> NoReturn:
        """With nothing of this process but its modules and standard error."""
        code = 1
        try:
            os.setsid()  # one group to kill
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(connection.fileno(), 1)
            for one in (connection, self._control, self._woken, self._waker, *self._children.values()):
                one.close()
            with Path(os.devnull).open("rb") as nothing:
                os.dup2(nothing.fileno(), 0)
            code = _run(*json.loads(request))
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while self._children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                return
            end = judge(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
            with self._children.pop(pid) as connection, suppress(OSError):
                connection.sendall(b'\n{"ended": "%s"}\n' % end.encode())  # the line before may be cut off


def judge(code: int, seconds: float) -> End:
    """How a child ended, from its exit code (negative: the signal) and the CPU time that it took."""
    if code == 0:
        return End.DONE
    if code > 0:
        return End.LIMIT if code == OUT_OF_MEMORY else End.FAILED
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    allowed = CPU_SECONDS if hard == resource.RLIM_INFINITY else min(CPU_SECONDS, hard)
    return End.KILLED if -code in KILLERS and seconds < ROUNDING * allowed else End.LIMIT


def kill(pid: int) -> None:
    """Ends a child that was not waited for yet, and all of its group, which it may not lead yet."""
    for end in (os.kill, os.killpg):
        with suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


def _receive_line(connection: socket.socket) -> bytes:
    """Empty where the other end was closed before."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        line += chunk
    return line


def _run(module: str, *arguments: str) -> int:
    """As `python -m module arguments`. Gives the exit code."""
    sys.argv = [module, *arguments]
    try:
        sys.modules[module].main()
        sys.stdout.flush()
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException:  # noqa: BLE001 - whatever it is, it must not run on into the loop of the parent
        say(traceback=traceback.format_exc())
        return 1
    return 0


def load(modules: Iterable[str]) -> None:
    """Imports all that looks need."""
    for module in (*modules, *WITH_A_FILE):
        importlib.import_module(module)


def main() -> None:
    """Entry point."""
    load(sys.argv[1:])
    gc.collect()
    gc.freeze()  # the collector would touch every object, and each child get a copy of all pages
    with socket.socket(fileno=os.dup(0)) as control:
        ForkLoop(control).serve()


if __name__ == "__main__":
    main()
