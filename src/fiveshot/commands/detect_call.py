"""One call of `detect` from its checks to its tables and report: many recordings, one folder of results."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fiveshot import __version__
from fiveshot.core.errors import FiveshotError, Problems
from fiveshot.core.files import folder_lock, sha256, write_json, write_text
from fiveshot.core.yaml import read_yaml, to_yaml
from fiveshot.data.events import Events
from fiveshot.data.formats.reading import read_tables
from fiveshot.data.names import audio_key
from fiveshot.data.recordings import (
    FEW_SHOTS,
    ShotTable,
    SoundFile,
    common_folder,
    find_audio,
    labelled,
    open_sound,
    read_shots,
)
from fiveshot.detection.results import CACHE, RESULTS, as_rows
from fiveshot.detection.tables import COMBINED, EventList, table_path, table_text
from fiveshot.detector import Detector
from fiveshot.job import Listing, Workshop
from fiveshot.run.folder import list_problems, logging_to

log = logging.getLogger("fiveshot")

SHIPPED = "the model of the package"
SETTINGS = "settings.yaml"
# What makes results others than those that a folder holds, so that they are not replaced unasked.
SAME = ("shots", "labels")
FOREIGN = "{}: is there already and not of an earlier call; give another --output DIR."


@dataclass(frozen=True)
class Call:
    """A checked call.

    Attributes:
        files: the recordings.
        root: the folder they share.
        shots: of every label.
        marks: a recording → its reviewed events.
        output: the folder of what belongs to all recordings; tables lie beside each where `beside`.
        described: what settings.yaml says of the call.
    """

    files: tuple[SoundFile, ...]
    root: Path
    shots: ShotTable
    marks: dict[Path, Events]
    output: Path
    beside: bool
    forms: tuple[str, ...]
    listing: Listing
    problems: Problems
    described: dict[str, Any]

    @classmethod
    def prepare(
        cls,
        recordings: Sequence[Path],
        shots: Path,
        shots_audio: Path | None,
        label_column: str | None,
        max_shots: int,
        marks: Path | None,
        output: Path | None,
        forms: tuple[str, ...],
        listing: Listing,
        strict: bool,
    ) -> Call:
        """Check everything that can be checked before the network is loaded.

        Raises:
            FiveshotError: a recording or table that is not there or is none, marks of other recordings.
        """
        audio = find_audio(recordings)
        root = common_folder(audio)
        if shots_audio is not None and not shots_audio.is_file():
            raise FiveshotError(f"{shots_audio}: there is no such file; check --shots-audio.")
        table = read_shots(shots, audio, shots_audio, label_column, max_shots)
        reviewed = read_marks(marks, audio) if marks else {}
        problems, files = Problems(strict), []
        for path in audio:
            with problems.skip(path):
                files.append(open_sound(path, root, audio))
        if not files:
            raise FiveshotError(f"{problems[0]}")
        described = {
            "fiveshot": __version__,
            "shots": {"file": shots.name, "sha256": sha256(shots), "max_shots": max_shots},
            "labels": table.labels,
            "marks": {"file": marks.name, "sha256": sha256(marks)} if marks else None,
            "threshold": listing.threshold,
            "min_duration_s": listing.min_duration_s,
            "merge_gap_s": listing.merge_gap_s,
            "recordings": [file.path.resolve().relative_to(root).as_posix() for file in files],
        }
        return cls(
            *(tuple(files), root, table, reviewed, output or root, output is None),
            *(forms, listing, problems, described),
        )

    def run(self, checkpoint: Path | None, settings: Sequence[str], replaces: bool, report: bool) -> int:
        """Search, write tables and report.

        Args:
            checkpoint: a run or a checkpoint in it; None: the one that comes with the package.
            settings: `key.sub=value` each, in place of the model's.
            replaces: results of other shots in the folder are replaced.
            report: write report.html.

        Returns:
            The exit code: 0, or 3 where recordings were left out.

        Raises:
            FiveshotError: no checkpoint, or a folder that cannot be written or holds other results.
        """
        self._check_output(replaces)
        detector = Detector.load(checkpoint, settings)
        with folder_lock(self.output / CACHE), logging_to(self.output / CACHE / "log.txt"):
            log.info("compute: %s", detector.learner.backend)
            log.info("checkpoint: %s", checkpoint or SHIPPED)
            self._warn()
            lists, results = self._search(Workshop(detector, self.output / CACHE))
            written = self._write_tables(lists)
            described = self.described | {
                "checkpoint": str(checkpoint or SHIPPED),
                "set": list(settings),
                "files": sorted({*self._known_files(), *written}),
                "config": detector.config.model_dump(mode="json"),
            }
            write_text(self.output / SETTINGS, to_yaml(described))
            write_json(self.output / CACHE / RESULTS, {"recordings": results, "call": self.described})
            count = sum(len(item.events) for item in lists)
            log.info("%d events in %d recordings: %s", count, len(lists), self.output)
            if report:
                from fiveshot.report.results import report_of_results

                log.info("report: %s", report_of_results(self.output))
            return list_problems(self.output / CACHE / "problems.txt", (), self.problems)

    def _warn(self) -> None:
        for label in self.shots.labels:
            few = min(self.shots.of(label, file.path).count for file in self.files)
            if few < FEW_SHOTS:
                text = "1 shot" if few == 1 else f"{few} shots"
                log.info("warning: only %s of %s; mark five for a better result.", text, label)

    def _search(self, workshop: Workshop) -> tuple[list[EventList], list[dict]]:
        lists, results = [], []
        tasks = len(self.files) * len(self.shots.labels)
        with tqdm(total=tasks * workshop.steps, unit="step", desc="detect") as bar:
            for file in self.files:
                bar.set_postfix_str(file.name, refresh=True)
                found, tracks = [], []
                with self.problems.skip(file.path):
                    for label in self.shots.labels:
                        events, track = self._search_label(workshop, file, label, bar)
                        found.append(events)
                        tracks.append(track)
                    lists.append(EventList(file, Events.joined(found)))
                    results.append(self._described_file(file) | {"tracks": tracks})
        if not lists:
            raise FiveshotError(f"no recording could be searched; the first: {self.problems[0]}")
        return lists, results

    def _search_label(
        self, workshop: Workshop, file: SoundFile, label: str, bar: tqdm
    ) -> tuple[Events, dict]:
        shots = self.shots.of(label, file.path)
        reviewed = [(path, labelled(marks, label)) for path, marks in sorted(self.marks.items())]
        reviewed = [(path, marks) for path, marks in reviewed if (marks.value != "UNK").any()]
        done = 0

        def progress(steps: int) -> None:
            nonlocal done
            done += steps
            bar.update(steps)

        scores, kept = workshop.scores(file.path, shots, reviewed, progress)
        bar.update(workshop.steps - done)
        own = labelled(self.marks.get(file.path.resolve(), Events.from_pairs([])), label)
        events = self.listing.events(scores, shots.shots, label, own)
        near = self.listing.near_misses(scores, shots.shots, label, events)
        here = shots.path.resolve() == file.path.resolve()
        nothing = Events.from_pairs([])
        return events, {
            "label": label,
            "scores": kept.relative_to(self.output / CACHE).as_posix(),
            "threshold": scores.threshold(self.listing.settings()),
            "scale": scores.config.detect.scale,
            "fusion": scores.config.detect.fusion,
            "events": as_rows(events),
            "near": as_rows(near),
            "shots": as_rows(shots.shots.where(shots.shots.value == "POS") if here else nothing),
            "truth": as_rows(shots.further if here else nothing),
            "marks": as_rows(own),
        }

    def _described_file(self, file: SoundFile) -> dict:
        return {
            "name": file.name,
            "path": os.path.relpath(file.path.resolve(), self.output.resolve()),
            "sample_rate": file.info.sample_rate,
            "duration_s": file.info.duration_s,
            "start": file.start.isoformat() if file.start else None,
        }

    def _write_tables(self, lists: list[EventList]) -> list[str]:
        """Write every table; their paths from the output folder."""
        texts = {}
        for form in self.forms:
            for item in lists:
                texts[self._table(item.file, form)] = table_text(form, [item])
            if len(lists) > 1:
                texts[table_path(self.output, COMBINED, form)] = table_text(form, lists)
        for path, text in texts.items():
            write_text(path, text)
        return [os.path.relpath(path, self.output) for path in texts]

    def _table(self, file: SoundFile, form: str) -> Path:
        return table_path(self.root if self.beside else self.output, file.name, form)

    def _check_output(self, replaces: bool) -> None:
        """Never replace a table of somebody else, nor results of other shots unasked."""
        before = self._stored()
        different = [name for name in SAME if before and before.get(name) != self.described[name]]
        if different and not replaces:
            raise FiveshotError(
                f"{self.output}: holds results of other {different[0]}; give another --output, or --replace."
            )
        known = self._known_files()
        paths = [self._table(file, form) for file in self.files for form in self.forms]
        if len(self.files) > 1:
            paths += [table_path(self.output, COMBINED, form) for form in self.forms]
        for path in paths:
            if path.exists() and os.path.relpath(path, self.output) not in known:
                raise FiveshotError(FOREIGN.format(path))

    def _stored(self) -> dict:
        path = self.output / SETTINGS
        if not path.exists():
            return {}
        stored = read_yaml(path)
        if "fiveshot" not in stored:
            raise FiveshotError(FOREIGN.format(path))
        return stored

    def _known_files(self) -> set[str]:
        files = self._stored().get("files")
        return {str(name) for name in files} if isinstance(files, list) else set()


def read_marks(path: Path, audio: Sequence[Path]) -> dict[Path, Events]:
    """The reviewed events of each recording.

    Args:
        path: as exported from the report: csv, Raven or Audacity.
        audio: the recordings of the call.

    Raises:
        FiveshotError: no such table, or marks of a recording that is not in the call.
    """
    marks: dict[Path, list[Events]] = {}
    for name, events in read_tables(path).items():
        same = [file for file in audio if audio_key(file.name) == audio_key(name)] if name else list(audio)
        if len(same) != 1:
            what = "none of" if not same else f"{len(same)} of"
            raise FiveshotError(
                f"{path}: marks of {name or 'an unnamed recording'!r}, which {what} the {len(audio)} "
                "recordings of this call is called; give the recordings that were marked."
            )
        marks.setdefault(same[0].resolve(), []).append(events)
    return {file: Events.joined(lists) for file, lists in marks.items()}
