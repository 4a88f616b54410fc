"""The errors a user can cause, each said in one sentence: which file, which line or key, what to do."""

from __future__ import annotations

import unicodedata
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
