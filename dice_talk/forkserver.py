"""Forks a child for each inspection, with all imports done: `python -m dice_talk.forkserver MODULE...`.

Inspecting small files takes a few milliseconds, but starting Python and importing takes 50 times as long. This process
imports the modules once and then waits. Standard input is a Unix socket that brings the descriptor of another socket
for each inspection. The request on that socket is a JSON line with the module and its arguments. The response is what
the module's `main` prints as JSON lines, and finally `{"ended": ...}` with an `End`. When the client closes the socket,
its child is killed. At the end of standard input all children are killed and this process exits.

It never starts a thread: a fork copies only one of them, and locks that the others hold would stay locked.
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
"""Modules that Pillow, PyAV and numpy import when they read their first file. In a new process every file is the first,
and the imports take 30 ms where the work takes 15.
"""
OUT_OF_MEMORY = 71
"""Exit code of a child that ran out of memory."""
KILLERS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals that come from outside: from the system when memory runs out, or from a person. A decoder that crashes gets
others.
"""
ROUNDING = 0.9
"""Tolerance for the CPU time, which the system measures more coarsely for the limit than for the parent."""


class ForkServerProcess:
    """Forks children and reports how they ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}  # by process id
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno())

    def serve(self) -> None:
        """Serve requests until the control socket is closed."""
        while True:
            waiting = [self._control, self._woken, *self._children.values()]
            ready = select.select(waiting, [], [])[0]
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            for pid, connection in self._children.items():
                if connection in ready:  # nothing follows the request, so the client has closed the connection
                    kill(pid)
            if self._control in ready and not self._accept():
                break
        for pid in self._children:
            kill(pid)
            os.waitpid(pid, 0)

    def _accept(self) -> bool:
        """Start the inspection that the control socket brings. Returns False at its end."""
        byte, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        if not byte:
            return False
        if not descriptors:  # too many open files here: the client sees its connection end
            return True
        connection = socket.socket(fileno=descriptors[0])
        request = _receive_line(connection)
        try:
            pid = os.fork() if request else None
        except OSError:  # too many processes: the client sees its connection end
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
        """Turn the forked process into a child that keeps nothing but the modules and standard error."""
        code = 1
        try:
            os.setsid()  # its own process group, so that it can be killed as one
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
            end = classify_end(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
            with self._children.pop(pid) as connection, suppress(OSError):
                connection.sendall(b'\n{"ended": "%s"}\n' % end.encode())  # the line before may be incomplete


def classify_end(code: int, seconds: float) -> End:
    """Return how a child ended, from its exit code (negative: a signal) and the CPU time it used."""
    if code == 0:
        return End.DONE
    if code > 0:
        return End.LIMIT if code == OUT_OF_MEMORY else End.FAILED
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    allowed = CPU_SECONDS if hard == resource.RLIM_INFINITY else min(CPU_SECONDS, hard)
    return End.KILLED if -code in KILLERS and seconds < ROUNDING * allowed else End.LIMIT


def kill(pid: int) -> None:
    """Kill a child that has not been reaped, and its process group, if it has created one already."""
    for end in (os.kill, os.killpg):
        with suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


def _receive_line(connection: socket.socket) -> bytes:
    """Read a line. Returns an empty one if the client closed the connection first."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        line += chunk
    return line


def _run(module: str, *arguments: str) -> int:
    """Run a module like `python -m module arguments` and return the exit code."""
    sys.argv = [module, *arguments]
    try:
        sys.modules[module].main()
        sys.stdout.flush()
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException:  # noqa: BLE001 - no error may reach the loop of the parent
        say(traceback=traceback.format_exc())
        return 1
    return 0


def load(modules: Iterable[str]) -> None:
    """Import everything that inspections need."""
    for module in (*modules, *WITH_A_FILE):
        importlib.import_module(module)


def main() -> None:
    """Entry point."""
    load(sys.argv[1:])
    gc.collect()
    gc.freeze()  # else the collector would touch all objects, and every child would copy all pages
    with socket.socket(fileno=os.dup(0)) as control:
        ForkServerProcess(control).serve()


if __name__ == "__main__":
    main()
