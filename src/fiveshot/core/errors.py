"""The errors a user can cause, each said in one sentence: which file, which line or key, what to do."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, surrogates, line ends
LEFT_OUT = 3  # exit code of a stage that finished, but not for all recordings
BEGINNING, END = 500, 300  # letters that are kept of a message longer than both
SHOWN = 3  # problems of one kind that a summary names

log = logging.getLogger("fiveshot")


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
    """Something wrong with one file, kept so that the other files can go on.

    `note`: nothing is wrong, but people should know it.
    """

    path: Path
    message: str
    note: bool = False

    def __str__(self) -> str:
        return escaped(f"{self.path}: {self.message}")

    @property
    def kind(self) -> str:
        """The message without what differs from file to file: names, values in quotes, numbers."""
        text = self.message.replace(self.path.stem, "...") if self.path.stem else self.message
        return re.sub(r"'[^']*'|-?\d+([.,]\d+)*", "...", text)


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
        self.warnings: list[Problem] = []

    def warn(self, warnings: Iterable[Problem]) -> None:
        """Collect what costs no file: rows and samples that were left out, and notes.

        Raises:
            FiveshotError: with `strict`, at the first that is no note.
        """
        for warning in warnings:
            if self.strict and not warning.note:
                raise FiveshotError(f"{warning} (stopped by --strict)")
            self.warnings.append(warning)

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


def summary(problems: Iterable[Problem]) -> list[str]:
    """Problems as lines, by kind: three or fewer in full; of more, the first, their number and some names."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    lines = []
    for group in kinds.values():
        if len(group) <= SHOWN:
            lines += [str(problem) for problem in group]
            continue
        names = list(dict.fromkeys(problem.path.name for problem in group))
        others = names[1:SHOWN]
        more = f"{len(group) - 1} more of this kind"
        named = f": {escaped(', '.join([*others, '...']))}" if others else ""
        lines.append(f"{group[0]} ({more}{named})")
    return lines


def log_warnings(problems: Iterable[Problem]) -> None:
    """Log what was left out of files that are used, or is odd about them, counted by kind."""
    problems = list(problems)
    for line in summary(problem for problem in problems if not problem.note):
        log.warning("warning: %s", line)
    for line in summary(problem for problem in problems if problem.note):
        log.warning("note: %s", line)
