"""The errors a user can cause, each said in one sentence: which file, which line or key, what to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, surrogates, line ends
BEGINNING, END = 500, 300  # letters that are kept of a message longer than both


class FiveshotError(Exception):
    """A mistake in the input or the settings; its message is one sentence for the user.

    Messages repeat what files say, which may be anything: what would steer a terminal is escaped, and the
    middle of what is too long left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_shortened(escaped(message)))


def escaped(text: str) -> str:
    """The text on one line, in letters that print."""
    return "".join(letter.encode("unicode_escape").decode() if _steers(letter) else letter for letter in text)


def steers(text: str) -> bool:
    """Does the text hold what does not print: line ends, terminal sequences, bytes that are no UTF-8?"""
    return any(map(_steers, text))


def _steers(letter: str) -> bool:
    return unicodedata.category(letter) in UNPRINTABLE


def _shortened(message: str) -> str:
    if len(message) <= BEGINNING + END:
        return message
    return f"{message[:BEGINNING]} ... {message[-END:]}"


class WriteError(FiveshotError):
    """A result could not be written: no fault of a recording, and no other one would fare better."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with one file, kept so that the other files can go on."""

    path: Path
    message: str

    def __str__(self) -> str:
        return escaped(f"{self.path}: {self.message}")


class Problems(list[Problem]):
    """What is left out, and why: the one way to go on without a bad recording, or to stop at it.

    Example:
        >>> problems = Problems(strict=False)
        >>> with problems.skip(Path("a.wav")):
        ...     raise FiveshotError("a.wav: no samples.")
        >>> print(*problems)
        a.wav: no samples.
    """

    def __init__(self, strict: bool = False) -> None:
        """`strict`: the first problem is raised in place of collected."""
        super().__init__()
        self.strict = strict

    @contextmanager
    def skip(self, path: Path) -> Iterator[None]:
        """Leave the rest of the block out where it fails over `path`.

        Raises:
            WriteError: no other recording would fare better, so that these are never collected.
            FiveshotError: with `strict`.
        """
        try:
            yield
        except WriteError:
            raise
        except FiveshotError as error:
            if self.strict:
                raise
            self.append(Problem(path, str(error).removeprefix(f"{path}: ")))

    def add(self, path: Path, message: str) -> None:
        """Collect a problem that was found elsewhere.

        Raises:
            FiveshotError: with `strict`.
        """
        problem = Problem(path, message.removeprefix(f"{path}: "))
        if self.strict:
            raise FiveshotError(f"{problem} (stopped by --strict)")
        self.append(problem)
