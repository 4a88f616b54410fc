"""The errors a user can cause, each said in one sentence: which file, which line or key, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class FiveshotError(Exception):
    """A mistake in the input or the settings; its message is one sentence for the user."""


class WriteError(FiveshotError):
    """A result could not be written: no fault of a recording, and no other one would fare better."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with one file, kept so that the other files can go on."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"
