"""Ctrl-C and termination: an exception in the main thread, one line, and exit code 130 or 143.

The exception comes when the interpreter runs again, at the latest at the end of the library call under way.
Files are written atomically: it may come anywhere.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEAT_S = 1.0  # run.sh passes on what the terminal has sent to every process: signals come in twos
LINE = "Interrupted. Progress is saved; rerun the same command to resume."


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or the end asked for by the system."""


class Interruption:
    """The handler of one process; `number` is the first signal that came, or 0."""

    def __init__(self) -> None:
        self.number = 0
        self.process = os.getpid()
        self.raised_s = -REPEAT_S

    def handle(self, number: int, _: FrameType | None) -> None:
        """Raise `Stopped`, once for signals that come together."""
        if os.getpid() != self.process:  # in a forked DataLoader worker that has not begun yet
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        self.number = self.number or number
        if time.monotonic() - self.raised_s >= REPEAT_S:
            self.raised_s = time.monotonic()
            # torch would raise an error of its own for DataLoader workers that end by the same signal.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            raise Stopped

    def raise_again(self) -> None:
        """Send the signal once more, after `Stopped` got lost."""
        self.raised_s = -REPEAT_S
        os.kill(self.process, self.number)


def leave_signals_to_the_parent(_: int = 0) -> None:
    """Make a DataLoader worker (`worker_init_fn`) end when its parent ends it, without a message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Its thread that hands over tensors prints a traceback when the parent goes; errors travel as values.
    sys.excepthook = lambda *_: None


@contextmanager
def stoppable() -> Iterator[Interruption]:
    """Within the block, SIGINT and SIGTERM raise `Stopped`; after one that did, they are ignored.

    In a thread other than the main one, nothing changes.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    hook = sys.unraisablehook

    def lost(unraisable: Any) -> None:
        # Raised in a destructor, an exception is printed and forgotten.
        if isinstance(unraisable.exc_value, Stopped):
            threading.Timer(0.1, interruption.raise_again).start()
        else:
            hook(unraisable)

    sys.unraisablehook = lost
    before = {number: signal.signal(number, interruption.handle) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if interruption.number else handler)
        sys.unraisablehook = hook
