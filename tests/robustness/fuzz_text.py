"""Text that comes from outside, csv and settings: whole files, and what must hold of what mutants give."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from fuzz_mutations import mutate_csv, mutate_yaml, with_structure
from fuzz_own import events_equal, same, tiny_config, tiny_features
from fuzz_run import Case, Format, right

from fiveshot.core.config import Config, load_config, save_config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.provenance import Provenance
from fiveshot.data.annotations import EventTable, read_test_csv, read_training_csv
from fiveshot.data.audio import probe
from fiveshot.data.corpus import Recording, read_corpus
from fiveshot.data.feature_files import open_features, write_blocks
from fiveshot.data.names import audio_key
from fiveshot.detection.metric import evaluate
from fiveshot.detection.predictions import (
    Detection,
    read_prediction_table,
    read_predictions,
    write_confident_predictions,
)
from fiveshot.detection.references import read_references

ROOT = Path(__file__).resolve().parents[2]
RATE, SECONDS = 22050, 0.45
HEAD = "Audiofilename,Starttime,Endtime"
TIMES = [f"{0.03 + 0.06 * i:.2f},{0.06 + 0.06 * i:.3f}" for i in range(7)]
TEST_CSV = "\n".join(
    [f"{HEAD},Q,note", *(f"a.wav,{t},{'UNK' if i == 2 else 'POS'}," for i, t in enumerate(TIMES))]
)
TRAINING_CSV = "\n".join(
    [f"{HEAD},cow,dog", *(f"x/a.wav,{t},POS,{'UNK' if i else 'NEG'}" for i, t in enumerate(TIMES))]
)
CALL_CSV = f'\ufeff{HEAD},CALL\r\n"a, b.wav",1e-1,2.5E-1,POS\r\n\r\n"a, b.wav", 0.3,0.4 ,NEG\r\n'
MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
BLANK = " ,;\t\v\f\x1c\x1d\x1e\x1f\x85\xa0\u3000"
SPELLED = {  # other spellings of the test csv: separator, decimal point, codec
    "semicolons": (";", ",", "utf-8-sig"),
    "tabs": ("\t", ".", "utf-16"),
    "latin": (",", ".", "latin-1"),
}


def csv_format(folder: Path) -> Format:
    """Annotations for training and for testing, alone and beside their audio, references and predictions."""
    for name in ("train", "test"):
        path = made(corpus_file(folder / name, name, "wav"), b"")
        soundfile.write(str(path), np.zeros(round(SECONDS * RATE)), RATE)
    predictions = folder / "predictions" / "p.csv"
    write_confident_predictions(predictions, [Detection("a.wav", 0.1 + i, 0.5 + i, 0.75) for i in range(4)])
    references = folder / "references" / "OWL" / "a.csv"
    scored = made(folder / "scored" / "OWL" / "a.csv", TEST_CSV.encode())
    case_of = {
        folder / "training.csv": (TRAINING_CSV, _check_training),
        folder / "call.csv": (CALL_CSV, _check_training),
        folder / "test.csv": (TEST_CSV, _check_test),
        corpus_file(folder / "train", "train", "csv"): (
            TRAINING_CSV,
            partial(check_corpus, folder / "train", "train"),
        ),
        corpus_file(folder / "test", "test", "csv"): (
            TEST_CSV,
            partial(check_corpus, folder / "test", "test"),
        ),
        references: (
            TEST_CSV,
            lambda path: _check_score(path.parents[1], {"a.wav": np.array([[0.27, 0.3]])}),
        ),
        predictions: (
            predictions.read_text(),
            lambda path: _check_predictions(path, scored.parents[1]),
        ),
    }
    cases = [Case(made(path, b""), text.encode(), read) for path, (text, read) in case_of.items()]
    for name, (separator, point, codec) in SPELLED.items():
        text = TEST_CSV.replace("note", "h\xe9ron").replace(",", "\0").replace(".0", f"{point}0")
        content = text.replace("\0", separator).encode(codec)
        cases.append(Case(made(folder / f"{name}.csv", b""), content, _check_test))
    return Format("csv", cases, with_structure(mutate_csv))


def made(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def corpus_file(root: Path, split: str, suffix: str) -> Path:
    return root / {"train": "Training_Set", "test": "Validation_Set"}[split] / "OWL" / f"a.{suffix}"


def _table_lines(path: Path) -> list[str]:
    """The lines of a table, read in the plainest way."""
    data = path.read_bytes()
    codec = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(codec, "strict" if codec == "utf-8" else "replace")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return re.split(r"\r\n|\n|\r", text)


def _numbers(text: str) -> set[float]:
    """Every number in a text, whether commas are separators or decimal."""
    found = set()
    for word in re.split(r"[;\t\"\s]", text) + re.split(r"[,;\t\"\s]", text):
        with suppress(ValueError):
            found.add(float(word.replace(",", ".")))
    return found


def _check_rows(table: EventTable, path: Path) -> None:
    """Every event stands in its line with both times and its value, and no line is lost without a word."""
    lines = _table_lines(path)
    right(len(table.lines) == len(table), "events without lines")
    for line, onset_s, offset_s, value in zip(
        table.lines, table.onset_s, table.offset_s, table.value, strict=True
    ):
        # A note in quotes may have a line break in front of the times.
        text = "\n".join(lines[line - 1 : line + 3 if '"' in lines[line - 1] else line])
        numbers = _numbers(text)
        cut = onset_s == 0 and any(number < 0 for number in numbers)
        right(onset_s in numbers or cut, f"line {line} has no {onset_s}")
        right(offset_s in numbers, f"line {line} has no {offset_s}")
        right(value in text.upper(), f"line {line} has no {value}")
    if any('"' in line for line in lines):
        return
    faults = {number for fault in table.faults for number in re.findall(r"^line (\d+)", fault.message)}
    repeated = any("rows repeat" in fault.message for fault in table.faults)
    filled = [n for n, line in enumerate(lines, start=1) if line.strip(BLANK)]
    for number in filled[1:]:
        line = lines[number - 1]
        known = number in table.lines or str(number) in faults or "NEG" in line.upper()
        right(known or repeated or number < 3, f"line {number} is lost: {line!r}"[:300])


def _check_times(onset_s: np.ndarray, offset_s: np.ndarray) -> None:
    right(bool(np.isfinite([onset_s, offset_s]).all()), "a time that is not finite")
    right(bool((onset_s >= 0).all()), "a negative time")


def _check_table(table: EventTable, path: Path, columns: list[str] | None) -> None:
    _check_times(table.onset_s, table.offset_s)
    right(bool((table.onset_s <= table.offset_s).all()), "an event that ends before it starts")
    right(set(table.value[table.onset_s == table.offset_s]) <= {"POS"}, "an event without length")
    order = np.lexsort((table.offset_s, table.onset_s))
    right(bool((table.onset_s[order] == table.onset_s).all()), "events out of order")
    right(set(table.value) <= {"POS", "UNK"}, "a value other than POS and UNK")
    right(all(table.class_name), "a class without a name")
    right(columns is None or set(table.class_name) <= set(columns), "an event of another column")
    _check_rows(table, path)
    _check_round(table, path)


def _check_round(table: EventTable, path: Path) -> None:
    """Events and their names must survive the files that later stages write."""
    found = read_predictions(_predicted(table, path.with_name("again.csv")))
    name = audio_key(table.audio_name)
    right(
        {audio_key(one) for one in found} <= {name},
        f"the name {table.audio_name!r} comes back as {list(found)}",
    )
    right(sum(map(len, found.values())) == len(table), "predictions that do not come back")


def _predicted(table: EventTable, path: Path) -> Path:
    times = table.as_array().tolist()
    write_confident_predictions(path, [Detection(table.audio_name, *event, 0.5) for event in times])
    return path


def _check_training(path: Path) -> None:
    _check_table(read_training_csv(path, "OWL"), path, None)


def _check_test(path: Path) -> None:
    _check_table(read_test_csv(path), path, ["Q"])


def check_corpus(root: Path, split: str, path: Path) -> None:
    """A recording of the corpus holds what its files hold, and its events survive a feature file."""
    corpus = read_corpus(root, need_train=split == "train", need_test=split == "test")
    found = [*corpus.train, *corpus.test]
    right(len(found) + len(corpus.problems) == 1, "neither a recording nor a problem, or both")
    if corpus.problems:
        raise FiveshotError(str(corpus.problems[0]))
    recording, events = found[0], found[0].events
    info = probe(recording.audio)
    right(recording.duration_s == info.duration_s == info.frames / info.sample_rate, "another duration")
    _check_times(events.onset_s, events.offset_s)
    right(bool((events.onset_s <= events.offset_s).all()), "an event that ends before it starts")
    right(bool((events.offset_s <= recording.duration_s).all()), "an event outside the audio")
    right(split == "train" or len(events.positive()) >= 5, "fewer than five shots")
    if path.suffix == ".csv":
        _check_stored(recording, root / "a.h5")


def _check_stored(recording: Recording, path: Path) -> None:
    settings = tiny_config().features
    write_blocks(path, recording, settings, Provenance({"made by": "fuzz"}), [{"pcen": tiny_features()}])
    events_equal(open_features(path, settings).events, recording.events)


def _check_score(references: Path, predictions: dict[str, np.ndarray]) -> None:
    report = evaluate(read_references(references), predictions, resamples=0)
    scores = [value for value in report["overall_scores"].values() if isinstance(value, int | float)]
    right(bool(scores) and all(0 <= score <= 100 for score in scores), f"scores {scores}")


def _check_predictions(path: Path, references: Path) -> None:
    found, faults = read_prediction_table(path)
    for events in found.values():
        _check_times(events[:, 0], events[:, 1])
        right(bool((events[:, 0] <= events[:, 1]).all()), "an event that ends before it starts")
    right(all(found), "a recording without a name")
    lines = [line for line in _table_lines(path) if line.strip(BLANK)]
    lost = sum(fault.message.startswith("line ") for fault in faults)
    if '"' not in "".join(lines) and not lines[0].lower().startswith("sep="):
        right(
            sum(map(len, found.values())) + lost == len(lines) - 1,
            "another number of events than in the file",
        )
    _check_score(references, found)


def yaml_format(folder: Path) -> Format:
    """A whole settings file, files that name only what they change, and settings of the command line."""
    base = folder / "base" / "config.yaml"
    save_config(tiny_config(), base)
    text = base.read_bytes()
    override = (ROOT / "config" / "demo.yaml").read_bytes()
    words = (
        b"train.augment.time_filter.bands=[2, 3]\nseed=5\npaths.features=auto\n"
        b"network={num_heads: 2, te_vad: bilstm}\n"
    )
    case_of: dict[Path, tuple[bytes, Callable[[Path], Config]]] = {
        folder / "whole" / "a.yaml": (text, load_config),
        folder / "partial" / "a.yaml": (override, lambda path: load_config(base, path)),
        folder / "words" / "a.txt": (words, lambda path: load_config(base, None, _lines(path))),
    }
    cases = [
        Case(made(path, content), content, partial(_check_settings, read))
        for path, (content, read) in case_of.items()
    ]
    return Format("yaml", cases, with_structure(mutate_yaml))


def _lines(path: Path) -> list[str]:
    # As a shell would hand them over: no NUL, and bytes that are no UTF-8 as lone surrogates.
    text = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
    return [line for line in text.split("\n") if line]


def _check_settings(read: Callable[[Path], Config], path: Path) -> None:
    config = read(path)
    right(isinstance(config, Config), "not settings")
    saved = path.with_name("saved.yaml")
    save_config(config, saved)
    same(config.model_dump(), load_config(saved).model_dump())
