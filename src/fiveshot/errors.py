"""The errors a user can cause, each said in one sentence: which file, which line or key, what to do."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control and formatting characters, surrogates, line ends
BEGINNING, END = 500, 300  # letters that are kept of a message longer than both


class FiveshotError(Exception):
    """A mistake in the input or the settings; its message is one sentence for the user.

    Messages repeat what files say, which may be anything: what would steer a terminal is escaped, and the
    middle of what is too long left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_shortened("".join(map(_printable, message))))


def _printable(letter: str) -> str:
    if unicodedata.category(letter) in UNPRINTABLE:
        return letter.encode("unicode_escape").decode()
    return letter


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
        return f"{self.path}: {self.message}"
