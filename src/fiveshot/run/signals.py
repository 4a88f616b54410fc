"""Ctrl-C and termination: the process answers within a moment, with one line, whatever it is busy with.

The main thread gets an exception first and can clean up. When it does not come back in time,
because it is deep inside a long computation, a second thread ends the process; files appear whole or not at
all, so that nothing is lost by that.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 1.2  # for the main thread to end by itself
LINE = "Interrupted. Progress is saved; rerun the same command to resume."


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or the end asked for by the system."""


_unsaid = threading.Lock()


def _say_once() -> None:
    if _unsaid.acquire(blocking=False):
        os.write(2, f"\n{LINE}\n".encode())  # below whatever a progress bar has left


class _Watch:
    """Ends the process when the main thread does not; `number` is the signal that came, or 0."""

    def __init__(self) -> None:
        self.number = 0

    def start(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.ended = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        # The system's handler writes the signal's number here at once, even while the main thread is busy.
        # Loading processes that end are signalled as well: those numbers are not ours.
        number = next(n for n in iter(lambda: os.read(self.reader, 1)[0], None) if n in (0, *SIGNALS))
        if number and not self.ended.wait(GRACE_S):
            _say_once()
            os._exit(128 + number)
        self.ended.wait()
        os.close(self.reader)
        os.close(self.writer)

    def raise_in_main(self, number: int, _: object) -> None:
        first, self.number = self.number == 0, number
        if first:
            # Raised where nobody can catch it, it would be printed: the other thread ends the process then.
            sys.unraisablehook = lambda _: None
            raise Stopped

    def close(self) -> None:
        os.write(self.writer, b"\0")
        self.ended.set()


_watching: list[_Watch] = []


def _leave_it_to_the_parent() -> None:
    if _watching:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# A loading process is ended by the one that forked it, and has nothing to say.
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_leave_it_to_the_parent)


@contextmanager
def stoppable() -> Iterator[_Watch]:
    """Within the block, SIGINT and SIGTERM raise `Stopped` here, or end the process soon after.

    In a thread other than the main one, nothing changes.
    """
    watch = _Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    watch.start()
    before = {number: signal.signal(number, watch.raise_in_main) for number in SIGNALS}
    _watching.append(watch)
    wakeup = signal.set_wakeup_fd(watch.writer, warn_on_full_buffer=False)
    try:
        yield watch
    finally:
        _watching.remove(watch)
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        watch.close()


def leave(number: int) -> NoReturn:
    """Say the line, and end without a long farewell."""
    _say_once()
    # Loading processes have been ended as well; that they did is no news.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    atexit._run_exitfuncs()
    os._exit(128 + number)
