"""A corpus of synthetic animal calls in the DCASE Task 5 layout, so that every stage runs without a download.

Classes of calls are in `kinds`; every call is a variation of its kind, at a level of its own. A level is set
against the noise inside the kind's own band, and targets and distractors share one range of levels: energy
alone does not tell them apart. Everything is drawn from the seed and a name, so one recording does not depend
on another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import atomic_write, read_json, write_json, write_text
from fiveshot.data.annotations import SHOTS
from fiveshot.data.synthetic.draws import rng_for
from fiveshot.data.synthetic.kinds import FAMILIES, Kind, draw_kind, vary
from fiveshot.data.synthetic.render import Call, Recording, render

VERSION = 2  # raise it when the same settings would give other files
TRAIN_DURATION_S = (0.08, 2.8)
TRAIN_SUBSETS = {"MEADOW": 7, "REEF": 6, "OWL": 1, "TOAD": 1}  # classes; 1: the column CALL
UNK_SHARE = 0.06  # ambiguous calls are rare
WAV = ".wav"
FORMATS = ((22050, 1, WAV), (44100, 2, WAV), (16000, 1, ".flac"), (32000, 1, ".WAV"), (48000, 1, WAV))
PLAIN_RATES = (22050, 32000, 44100, 16000)  # of the recordings after these, all mono wav


@dataclass(frozen=True)
class ValidationSubset:
    """How the recordings of one validation subset are filled; `duration_s` is the mean call."""

    duration_s: float
    targets: int
    unknown: int
    distractors: int
    recording_s: float


VALIDATION_SUBSETS = {
    "CRICKET": ValidationSubset(0.1, 24, 2, 24, 45.0),
    "FINCH": ValidationSubset(0.5, 20, 2, 20, 50.0),
    "WHALE": ValidationSubset(3.0, 12, 1, 8, 80.0),
}


@dataclass(frozen=True)
class SynthesisSettings:
    """What decides the corpus: equal settings give bitwise identical files."""

    seed: int = 0
    train_recordings: int = 5  # per subset with several classes; subsets with one class get half as many
    train_recording_s: float = 48.0
    valid_recordings: int = 3  # per validation subset
    shots: int = SHOTS  # of each validation recording; the query holds as many targets with any number
    fill: float = 0.7  # share of a training recording that is calls and the shortest gaps between them

    def __post_init__(self) -> None:
        if min(self.train_recordings, self.valid_recordings) < 1:
            raise FiveshotError("synthesis: train_recordings and valid_recordings must be at least 1.")
        if not (self.train_recording_s >= 10 and 0 < self.fill <= 0.9):
            raise FiveshotError("synthesis: train_recording_s must be at least 10, fill above 0, up to 0.9.")


def train_kinds(seed: int) -> dict[tuple[str, str], Kind]:
    """The training classes by (subset, column); durations are spread evenly on a logarithmic scale."""
    classes = [(subset, f"CLASS_{chr(65 + i)}" if count > 1 else "CALL")
               for subset, count in TRAIN_SUBSETS.items() for i in range(count)]  # fmt: skip
    rng = rng_for(seed, "kinds")
    durations = rng.permutation(np.geomspace(*TRAIN_DURATION_S, len(classes)))
    kinds: list[Kind] = []
    for index, duration in enumerate(durations):
        kinds.append(draw_kind(rng, float(duration), kinds, FAMILIES[index % len(FAMILIES)]))
    return dict(zip(classes, kinds, strict=True))


# ---- what happens when


def timeline(
    rng: np.random.Generator, calls: Sequence[Call], recording_s: float
) -> tuple[tuple[Call, ...], float]:
    """Give the calls onsets in their order, never overlapping; also returns the recording's length (s)."""
    gap_s = _shortest_gap_s(call.kind for call in calls)
    needed_s = sum(call.kind.duration_s + gap_s for call in calls) + gap_s
    recording_s = max(recording_s, round(1.05 * needed_s, 3))
    # shares of the free time from a flat Dirichlet: gaps as of a Poisson process
    gaps_s = gap_s + (recording_s - needed_s) * rng.dirichlet(np.ones(len(calls) + 1))
    placed, now_s = [], 0.0
    for call, gap in zip(calls, gaps_s, strict=False):
        placed.append(replace(call, onset_s=round(now_s + gap, 3)))
        now_s += gap + call.kind.duration_s
    return tuple(placed), recording_s


def _shortest_gap_s(kinds: Iterable[Kind]) -> float:
    return 0.3 if min(kind.duration_s for kind in kinds) < 0.2 else 0.15


def plan_training(settings: SynthesisSettings, subset: str, index: int, number: int) -> Recording:
    """A training recording: calls of the subset's classes; beside a single class, unlabelled strangers."""
    name, sample_rate, channels = _file_format(subset, index, number)
    kinds = train_kinds(settings.seed)
    own = {column: kind for (folder, column), kind in kinds.items() if folder == subset}
    rng = rng_for(settings.seed, subset, name)
    pool: list[tuple[str | None, Kind]] = list(own.items())
    if len(own) == 1:
        for _ in range(3):
            duration_s = own["CALL"].duration_s * rng.uniform(0.6, 1.4)
            pool.append((None, draw_kind(rng, duration_s, [*kinds.values(), *(k for _, k in pool)])))
    calls = _fill(rng, pool, settings.fill * settings.train_recording_s)
    placed, recording_s = timeline(rng, calls, settings.train_recording_s)
    folder = Path("Training_Set", subset)
    return Recording(folder, name, sample_rate, channels, tuple(own), placed, recording_s)


def _fill(rng: np.random.Generator, pool: Sequence[tuple[str | None, Kind]], length_s: float) -> list[Call]:
    """Calls of all kinds in rounds until they and their gaps are `length_s` long."""
    # short calls come more often, as in nature; a single class as often as all strangers together
    often = [1 + 2 * (kind.duration_s < 0.2) + 2 * (column == "CALL") for column, kind in pool]
    gap_s, calls, now_s = _shortest_gap_s(kind for _, kind in pool), [], 0.0
    while now_s < length_s:
        for place in rng.permutation(np.repeat(np.arange(len(pool)), often)):
            column, kind = pool[place]
            calls.append(Call(vary(kind, rng), column, "UNK" if rng.random() < UNK_SHARE else "POS"))
            now_s += calls[-1].kind.duration_s + gap_s
            if now_s >= length_s:
                break
    return calls


def plan_validation(settings: SynthesisSettings, subset: str, index: int, number: int) -> Recording:
    """A validation recording: one new class is the target, other kinds of about its duration distract."""
    name, sample_rate, channels = _file_format(subset, index, number)
    plan, rng = VALIDATION_SUBSETS[subset], rng_for(settings.seed, subset, name)
    trained = list(train_kinds(settings.seed).values())
    # families go round, from another start in every corpus
    family = FAMILIES[(number + index // 2 + settings.seed) % len(FAMILIES)]
    target = draw_kind(rng, plan.duration_s * rng.uniform(0.92, 1.08), trained, family)
    others = _distractor_kinds(rng, target, trained)
    distractors = [Call(vary(others[i % len(others)], rng)) for i in range(plan.distractors)]
    unknown = [Call(vary(target, rng), "Q", "UNK") for _ in range(plan.unknown)]
    targets = [Call(vary(target, rng), "Q") for _ in range(plan.targets - SHOTS + settings.shots)]
    calls = _support_then_query(rng, settings.shots, targets, distractors, unknown)
    placed, recording_s = timeline(rng, calls, plan.recording_s)
    return Recording(Path("Validation_Set", subset), name, sample_rate, channels, ("Q",), placed, recording_s)


def _distractor_kinds(rng: np.random.Generator, target: Kind, trained: Sequence[Kind]) -> list[Kind]:
    """A relative of the target at another pitch, two kinds at large, a training class of similar duration."""
    kinds = [target]
    for family in (target.family, "", ""):
        kinds.append(draw_kind(rng, target.duration_s * rng.uniform(0.7, 1.3), kinds, family))
    nearest = sorted(trained, key=lambda kind: abs(np.log(kind.duration_s / target.duration_s)))
    return [*kinds[1:], nearest[rng.integers(4)]]


def _support_then_query(
    rng: np.random.Generator, shots: int, targets: list[Call], distractors: list[Call], unknown: list[Call]
) -> list[Call]:
    """An order in which distractors come first of all, lie among the shots, and go on in the query."""
    early = max(3, round(len(distractors) * shots / len(targets)))
    support = [*targets[: shots - 1], *distractors[1:early], *unknown[1:]]
    query = [*targets[shots:], *distractors[early:], *unknown[:1]]
    support, query = ([part[i] for i in rng.permutation(len(part))] for part in (support, query))
    return [distractors[0], *support, targets[shots - 1], *query]


def _file_format(subset: str, index: int, number: int) -> tuple[str, int, int]:
    """File name, sample rate and channels; the `number` over all subsets walks through the formats."""
    plain = (PLAIN_RATES[number % len(PLAIN_RATES)], 1, ".wav")
    sample_rate, channels, ending = FORMATS[number] if number < len(FORMATS) else plain
    return f"{subset}_{index + 1:02d}{ending}", sample_rate, channels


def plan_corpus(settings: SynthesisSettings) -> list[Recording]:
    """All recordings, training first."""
    single = max(1, settings.train_recordings // 2)
    training = [(subset, index) for subset, classes in TRAIN_SUBSETS.items()
                for index in range(settings.train_recordings if classes > 1 else single)]  # fmt: skip
    indices = range(settings.valid_recordings)
    validation = [(subset, index) for index in indices for subset in VALIDATION_SUBSETS]
    return [plan_training(settings, *place, number) for number, place in enumerate(training)] + [
        plan_validation(settings, *place, number) for number, place in enumerate(validation)
    ]


# ---- from plan to files


def annotation_text(recording: Recording) -> str:
    """The csv of a recording: one row per annotated call, its column POS or UNK, the others NEG."""
    rows = [["Audiofilename", "Starttime", "Endtime", *recording.columns]]
    for call in recording.calls:
        if call.column is not None:
            cells = [call.label if column == call.column else "NEG" for column in recording.columns]
            rows.append([recording.name, f"{call.onset_s:.3f}", f"{call.offset_s:.3f}", *cells])
    return "".join(",".join(row) + "\n" for row in rows)


def write_recording(root: Path, recording: Recording, seed: int) -> None:
    """Write a recording and its csv, each as a whole."""
    path = root / recording.folder / recording.name
    with atomic_write(path) as part:
        try:
            kind = path.suffix[1:].upper()
            soundfile.write(part, render(recording, seed), recording.sample_rate, "PCM_16", format=kind)
        except soundfile.LibsndfileError as error:
            raise FiveshotError(f"{path}: could not be written ({error}).") from error
    write_text(path.with_suffix(".csv"), annotation_text(recording))


def generate_corpus(root: Path, settings: SynthesisSettings) -> list[Path]:
    """Write the corpus and return its audio files; one that is there with equal settings is left as it is.

    A corpus of other settings is replaced.

    Raises:
        FiveshotError: `root` holds recordings that this function did not write.
    """
    recordings = plan_corpus(settings)
    audio = [recording.folder / recording.name for recording in recordings]
    names = [path.as_posix() for file in audio for path in (file, file.with_suffix(".csv"))]
    note = {"version": VERSION, "settings": asdict(settings), "complete": True, "files": names}
    if _previous(root) == note and all((root / name).is_file() for name in names):
        return [root / path for path in audio]
    _remove_previous(root)
    # a list of files before the first file: what an interrupted run leaves is known to the next one
    write_json(root / "corpus.json", note | {"complete": False})
    for recording in recordings:
        write_recording(root, recording, settings.seed)
    write_json(root / "corpus.json", note)
    return [root / path for path in audio]


def _previous(root: Path) -> object:
    note = root / "corpus.json"
    return read_json(note) if note.is_file() else None


def _remove_previous(root: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    previous = _previous(root)
    if previous is None and any((root / part).exists() for part in ("Training_Set", "Validation_Set")):
        raise FiveshotError(f"{root}: holds recordings that were not synthesised; choose another folder.")
    files = previous.get("files", []) if isinstance(previous, dict) else []
    for path in ((root / str(name)).resolve() for name in files):
        if path.is_relative_to(root.resolve()):
            path.unlink(missing_ok=True)
