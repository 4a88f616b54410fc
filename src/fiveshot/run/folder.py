"""A run's folder: where everything is, its log, and that only one process writes to it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fiveshot.core.config import Config, save_config
from fiveshot.core.errors import LEFT_OUT, FiveshotError, Problem, summary
from fiveshot.core.files import atomic_write, folder_lock, write_text
from fiveshot.core.provenance import Provenance
from fiveshot.core.yaml import read_yaml
from fiveshot.run.signals import LINE, Stopped

log = logging.getLogger("fiveshot")
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class Run:
    """The files of one run.

    `checkpoint` and `training_features` are those of another run, in place of its own (see borrowing.py).
    """

    folder: Path
    checkpoint: Path | None = None
    training_features: Path | None = None

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def latest(self) -> Path:
        return self.folder / "checkpoints" / "latest.pt"

    @property
    def best(self) -> Path:
        own = self.folder / "checkpoints" / "best.pt"
        handed_on = own.with_name(MODEL_FILE)  # all that a model which comes without its training has
        return self.checkpoint or (handed_on if handed_on.is_file() and not own.exists() else own)

    @property
    def probabilities(self) -> Path:
        return self.folder / "probabilities"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.csv"

    @property
    def predictions_note(self) -> Path:
        return self.folder / "predictions.json"

    @property
    def confident_predictions(self) -> Path:
        return self.folder / "predictions_confidence.csv"

    @property
    def problems(self) -> Path:
        return self.folder / "problems"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def submission(self) -> Path:
        return self.folder / "submission"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    def features(self, config: Config, split: str = "test") -> Path:
        """Where feature files lie: the configured folder, that of another run, or one inside the run."""
        if config.paths.feature_folder is not None:
            return Path(config.paths.feature_folder)
        borrowed = self.training_features if split == "train" else None
        return borrowed or self.folder / "features"


@contextmanager
def open_run(folder: Path, config: Config, stage: str, carried: Sequence[str] = ()) -> Iterator[Run]:
    """Create the folder, lock it, log to it, and save the resolved settings.

    Args:
        folder: of the run.
        config: resolved settings.
        stage: for the log.
        carried: settings that earlier calls of the run gave and this one goes on with, for the log.

    Raises:
        FiveshotError: the folder cannot be written, or another process is writing to it.
    """
    run, new = Run(folder), not folder.exists()
    try:
        with folder_lock(folder), logging_to(run.log):
            log.info("%s: run %s, seed %d", stage, folder, config.seed)
            if carried:
                log.info(
                    "settings from earlier calls of this run (--reset drops them): %s", " ".join(carried)
                )
            if run.config.exists():
                _log_changes(run.config, config)
            save_config(config, run.config)
            yield run
    except FiveshotError:
        if new:
            _remove_empty(folder)
        raise


def _log_changes(saved: Path, config: Config) -> None:
    """Log which settings differ from those of the stage before; an unreadable file is of an older version."""
    with suppress(FiveshotError):
        different = Provenance(read_yaml(saved)).differences(Provenance(config.model_dump(mode="json")))
        if different:
            log.info("settings changed since the stage before: %s", "; ".join(different))


def _remove_empty(folder: Path) -> None:
    """Remove the folder of a call that failed before it wrote a result."""
    own = {".lock", "log.txt", "config.yaml", "overrides.json"}
    with suppress(OSError):
        if {entry.name for entry in folder.iterdir()} <= own:
            for entry in folder.iterdir():
                entry.unlink()
            folder.rmdir()


class _Screen(logging.StreamHandler):
    """The log on the terminal; where nobody reads it any more, the work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            self.stream = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
            os.dup2(self.stream.fileno(), sys.stdout.fileno())
        else:
            super().handleError(record)


class _LogFile(logging.FileHandler):
    """The log on the disk; where that is full, results matter more, and it is said once."""

    said = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.said:
            print(f"{self.baseFilename}: the log cannot be written ({sys.exc_info()[1]}).", file=sys.stderr)
        self.said = True


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    try:
        screen, file = _Screen(sys.stdout), _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FiveshotError(
            f"{path}: the log cannot be written ({error.strerror}); check its rights."
        ) from error
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.setLevel(logging.INFO)
    before, log.propagate = log.propagate, False
    handlers = [screen, file]
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    except FiveshotError as error:
        log.error("error: %s", error)
        error.logged = True  # type: ignore[attr-defined]
        raise
    except Stopped:
        file.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, LINE, (), None))
        raise
    finally:
        log.propagate = before
        for handler in handlers:
            log.removeHandler(handler)
            with suppress(OSError):
                handler.flush()
        with suppress(OSError):
            file.close()


def report_problems(
    run: Run,
    stage: str,
    known: Sequence[Problem],
    problems: Sequence[Problem] = (),
    warnings: Sequence[Problem] = (),
) -> int:
    """Log what a stage left out, counted by kind, and write the whole list into the run.

    Args:
        run: the run.
        stage: names the file of the list, RUN/problems/STAGE.txt; there is none where the list is empty.
        known: recordings that were left out, logged already with the table of the corpus.
        problems: further recordings that were left out.
        warnings: of recordings that are used.

    Returns:
        The exit code: 0, or 3 (finished without some recordings).
    """
    return list_problems(run.problems / f"{stage}.txt", known, problems, warnings)


def list_problems(
    path: Path,
    known: Sequence[Problem],
    problems: Sequence[Problem] = (),
    warnings: Sequence[Problem] = (),
) -> int:
    """The same with the list in any file."""
    left_out = [*known, *problems]
    lines = [
        *(f"left out: {problem}" for problem in left_out),
        *(f"{'note' if warning.note else 'warning'}: {warning}" for warning in warnings),
    ]
    if not lines:
        path.unlink(missing_ok=True)
        return 0
    write_text(path, "\n".join([*lines, ""]))
    if not left_out:
        return 0
    for line in summary(problems):
        log.error("left out: %s", line)
    log.error("%d left out; the whole list: %s", len(left_out), path)
    return LEFT_OUT


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Write a csv with a column per key, as a whole; a key that a row lacks is an empty cell."""
    with atomic_write(path) as part:
        pd.DataFrame(rows).to_csv(part, index=False, lineterminator="\n")
