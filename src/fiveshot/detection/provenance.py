"""What the predictions of a run were computed from, kept beside them, so that stale ones are never scored."""

from __future__ import annotations

from collections.abc import Iterable

from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import read_json, sha256, write_json
from fiveshot.core.provenance import Provenance, fingerprint
from fiveshot.data.corpus import Recording
from fiveshot.run.borrowed import OWN, checkpoint_text, with_remembered_checkpoint
from fiveshot.run.folder import Run

# What predictions depend on; the other sections say where things lie and how they are computed.
_PREDICTING = ("seed", "shots", "features", "labels", "windows", "network", "train", "finetune", "detect")


def note_predictions(run: Run, config: Config, done: Iterable[Recording]) -> None:
    """Keep beside the predictions what they were made from, and of which recordings."""
    note = _files(run) | {
        "settings": _settings(config),
        "recordings": sorted(recording.key for recording in done),
    }
    write_json(run.predictions_note, note | {"fingerprint": fingerprint(note)})


def noted_predictions(run: Run, config: Config) -> tuple[Run, set[str]]:
    """The run with the checkpoint its predictions were made with, and the keys of their recordings.

    Raises:
        FiveshotError: no predictions, or made with other settings or another checkpoint, or changed since.
    """
    if not run.predictions_note.exists():
        raise FiveshotError(f"{run.predictions}: no predictions of this run; run the finetune stage first.")
    note = read_json(run.predictions_note)
    if not isinstance(note, dict) or note.pop("fingerprint", None) != fingerprint(note):
        raise FiveshotError(f"{run.predictions_note}: damaged; run the finetune stage again.")
    recordings = note.pop("recordings")
    run = with_remembered_checkpoint(run, note.get("checkpoint_file", OWN))
    if run.checkpoint and not run.checkpoint.is_file():
        raise FiveshotError(
            f"{run.checkpoint}: the checkpoint of {run.predictions} is gone; put it back, or fine-tune again "
            "with --checkpoint."
        )
    settings = note.pop("settings", {})
    different = Provenance(note).differences(Provenance(_files(run)))
    different += Provenance(settings).differences(Provenance(_settings(config)))
    if different:
        raise FiveshotError(
            f"{run.predictions}: not made with what is there now ({'; '.join(different)}); run the finetune "
            "stage again, which repeats only what changed, or give the settings it was made with."
        )
    return run, {str(key) for key in recordings}


def _settings(config: Config) -> dict:
    values = config.model_dump(mode="json")
    return {name: values[name] for name in _PREDICTING}


def _files(run: Run) -> dict:
    written = run.predictions, run.confident_predictions
    files = {"checkpoint": run.best} | {path.name: path for path in written}
    digests = {name: sha256(path) if path.exists() else None for name, path in files.items()}
    return digests | {"checkpoint_file": checkpoint_text(run)}
