"""A run that uses the checkpoint of another: an evaluation set is predicted in a folder of its own.

The checkpoint and the features of the training recordings, which fine-tuning needs as well, are those of the
other run; everything that is written, the features of the test recordings included, belongs to this one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fiveshot.core.errors import FiveshotError
from fiveshot.core.renamed_keys import translated
from fiveshot.core.sections import AUTO
from fiveshot.core.yaml import read_yaml
from fiveshot.run.folder import Run

OWN = "checkpoints/best.pt"


def with_checkpoint(run: Run, given: Path | None) -> Run:
    """The run with the checkpoint that `--checkpoint` names: another run's folder, or a file.

    Raises:
        FiveshotError: there is none, or it is this run's own.
    """
    if given is None:
        return run
    given = given.resolve()
    file = given / OWN if given.is_dir() else given
    if not file.is_file():
        what = f"there is no {OWN} in this folder" if given.is_dir() else "there is no such file or folder"
        raise FiveshotError(f"{given}: {what}; give a run that was trained, or a checkpoint file.")
    if file == run.folder / OWN:
        raise FiveshotError(
            f"{given}: --checkpoint names the run itself; leave it out, or give --run for another folder."
        )
    return replace(run, checkpoint=file, training_features=_features_beside(file))


def _features_beside(checkpoint: Path) -> Path | None:
    """The feature folder of the run that a checkpoint lies in; None where it lies in no run."""
    other = Run(checkpoint.parent.parent)
    if other.best.parent != checkpoint.parent or not other.config.is_file():
        return None
    # The settings may be of an older version: nothing but this one key is looked at.
    paths = translated(read_yaml(other.config)).get("paths")
    elsewhere = paths.get("features") if isinstance(paths, dict) else None
    return Path(elsewhere) if isinstance(elsewhere, str) and elsewhere != AUTO else other.folder / "features"


def checkpoint_text(run: Run) -> str:
    """The run's checkpoint as its predictions remember it; as a relative path among runs in one folder."""
    beside = run.best.is_relative_to(run.folder.parent)
    return Path(os.path.relpath(run.best, run.folder)).as_posix() if beside else str(run.best)


def with_remembered_checkpoint(run: Run, text: str) -> Run:
    """The run with the checkpoint that `checkpoint_text` kept."""
    file = Path(os.path.normpath(run.folder / text))
    return run if file == run.folder / OWN else replace(run, checkpoint=file)
