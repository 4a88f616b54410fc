"""The synthetic corpus: reproducible, in the official layout, audible where it is annotated, fair."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from fiveshot.core.errors import FiveshotError
from fiveshot.data.annotations import SHOTS
from fiveshot.data.synthetic.corpus import (
    SynthesisSettings,
    generate_corpus,
    plan_corpus,
    train_kinds,
    write_recording,
)
from fiveshot.data.synthetic.draws import rng_for
from fiveshot.data.synthetic.kinds import FAMILIES, Kind, call_sound, distinct

SMALL = SynthesisSettings(seed=7, train_recordings=2, train_recording_s=12.0, valid_recordings=1)
MEAN_DURATION_S = {"CRICKET": 0.1, "FINCH": 0.5, "WHALE": 3.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    generate_corpus(folder, SMALL)
    return folder


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def audio_files(root: Path, folders: str = "*_Set/*") -> list[Path]:
    files = sorted(path for path in root.glob(f"{folders}/*") if path.suffix != ".csv")
    assert files
    return files


def rows(audio: Path) -> list[dict[str, str]]:
    with audio.with_suffix(".csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def cells(row: dict[str, str]) -> dict[str, str]:
    return {key: row[key] for key in row if key not in ("Audiofilename", "Starttime", "Endtime")}


@pytest.mark.slow
def test_the_same_seed_gives_bitwise_identical_files(root, tmp_path):
    generate_corpus(tmp_path, SMALL)
    assert contents(tmp_path) == contents(root)


def test_another_seed_gives_other_sounds_and_other_times(root, tmp_path):
    generate_corpus(tmp_path, replace(SMALL, seed=8))
    ours, theirs = contents(root), contents(tmp_path)
    assert ours.keys() == theirs.keys()
    assert not any(ours[name] == theirs[name] for name in ours)


def test_an_up_to_date_corpus_is_left_as_it_is(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert sorted(generate_corpus(root, SMALL)) == audio_files(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_settings_replace_the_corpus_and_an_interrupted_run_is_repaired(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    written = []

    def stop_at_the_third(root, recording, seed):
        if len(written) == 2:
            raise Stop
        written.append(write_recording(root, recording, seed))

    tiny = replace(SMALL, train_recordings=1, train_recording_s=10.0)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr("fiveshot.data.synthetic.corpus.write_recording", stop_at_the_third)
        generate_corpus(tmp_path, SMALL)
    assert len(audio_files(tmp_path)) == 2
    paths = generate_corpus(tmp_path, tiny)
    assert sorted(paths) == audio_files(tmp_path)  # no recording of the first run is left
    assert json.loads((tmp_path / "corpus.json").read_text())["settings"]["train_recordings"] == 1
    assert not list(tmp_path.rglob("*.part"))


def test_recordings_of_someone_else_are_never_mixed_with_synthetic_ones(tmp_path):
    theirs = tmp_path / "Training_Set" / "BV" / "a.csv"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    with pytest.raises(FiveshotError, match="choose another folder"):
        generate_corpus(tmp_path, SMALL)
    assert list(contents(tmp_path)) == ["Training_Set/BV/a.csv"]


def test_a_corpus_note_cannot_make_us_delete_files_outside_the_corpus(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("precious")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").write_text('{"files": ["../outside.txt"]}')
    generate_corpus(tmp_path / "corpus", replace(SMALL, train_recordings=1, train_recording_s=10.0))
    assert outside.read_text() == "precious"


@pytest.mark.parametrize("wrong", [{"train_recordings": 0}, {"train_recording_s": 1.0}, {"fill": 2.0}])
def test_settings_that_make_no_corpus_are_refused(wrong):
    with pytest.raises(FiveshotError, match="synthesis: "):
        SynthesisSettings(**wrong)


def test_every_recording_has_a_csv_that_names_it(root):
    for audio in audio_files(root):
        assert {row["Audiofilename"] for row in rows(audio)} == {audio.name}


def test_training_has_both_csv_forms_and_validation_has_q(root):
    columns = defaultdict(set)
    for audio in audio_files(root):
        columns[audio.parent.parent.name, audio.parent.name].add(tuple(cells(rows(audio)[0])))
    assert all(len(forms) == 1 for forms in columns.values())
    training = [next(iter(forms)) for (part, _), forms in columns.items() if part == "Training_Set"]
    assert ("CALL",) in training
    assert sum(len(form) > 1 for form in training) >= 2
    assert sum(map(len, training)) >= 10
    validation = [forms for (part, _), forms in columns.items() if part == "Validation_Set"]
    assert validation == [{("Q",)}] * 3


def test_each_row_has_one_class_and_unk_occurs_in_both_parts(root):
    unknown = {"Training_Set": 0, "Validation_Set": 0}
    for audio in audio_files(root):
        for row in rows(audio):
            labels = list(cells(row).values())
            assert sum(label in ("POS", "UNK") for label in labels) == 1
            assert set(labels) <= {"POS", "NEG", "UNK"}
            unknown[audio.parent.parent.name] += "UNK" in labels
    assert min(unknown.values()) > 0


def test_every_training_class_is_heard(root):
    heard = {(audio.parent.name, column) for audio in audio_files(root, "Training_Set/*")
             for row in rows(audio) for column, label in cells(row).items() if label == "POS"}  # fmt: skip
    assert heard == set(train_kinds(SMALL.seed))


def test_sample_rates_channels_and_formats_vary(root):
    infos = [soundfile.info(path) for path in audio_files(root)]
    assert {info.samplerate for info in infos} == {16000, 22050, 32000, 44100, 48000}
    assert {info.channels for info in infos} == {1, 2}
    assert {path.suffix for path in audio_files(root)} == {".wav", ".WAV", ".flac"}
    assert {info.format for info in infos} == {"WAV", "FLAC"}


def test_no_sample_is_clipped_or_not_a_number_and_channels_differ(root):
    for path in audio_files(root):
        samples, _ = soundfile.read(path, always_2d=True)
        assert np.isfinite(samples).all()
        assert 0.01 < np.abs(samples).max() < 1
        if samples.shape[1] == 2:
            assert np.corrcoef(samples.T)[0, 1] < 0.9


def test_events_lie_inside_their_recording_in_order_and_apart(root):
    for audio in audio_files(root):
        times = np.array([[float(row["Starttime"]), float(row["Endtime"])] for row in rows(audio)])
        gap_s = 0.25 if audio.parent.name == "CRICKET" else 0.1
        assert times[0, 0] > 0 and times[-1, 1] < soundfile.info(audio).duration
        assert (times[:, 1] > times[:, 0]).all()
        assert (times[1:, 0] - times[:-1, 1] > gap_s).all()


@pytest.mark.parametrize(("subset", "mean_s"), MEAN_DURATION_S.items())
def test_calls_of_a_validation_subset_have_its_duration(root, subset, mean_s):
    for audio in audio_files(root, f"Validation_Set/{subset}"):
        positive = [row for row in rows(audio) if row["Q"] == "POS"]
        durations_s = [float(row["Endtime"]) - float(row["Starttime"]) for row in positive]
        assert np.mean(durations_s) == pytest.approx(mean_s, rel=0.15)
        assert np.std(durations_s) > 0.02 * mean_s
        assert len(positive) >= SHOTS + (6 if subset == "WHALE" else 12)


@pytest.mark.parametrize("seed", range(4))
def test_distractors_come_first_and_lie_among_the_shots_and_in_the_query(seed):
    for plan in plan_corpus(replace(SMALL, seed=seed, valid_recordings=2)):
        if plan.columns == ("Q",):
            annotated = [call.column is not None for call in plan.calls]
            fifth = [i for i, call in enumerate(plan.calls) if call.column and call.label == "POS"][SHOTS - 1]
            assert not annotated[0]
            assert annotated[:fifth].count(False) >= 2
            assert annotated[fifth:].count(False) >= 3


@pytest.mark.parametrize("seed", range(4))
def test_a_validation_target_is_neither_a_training_class_nor_its_distractor(seed):
    """Calls of two distinct kinds stay apart although each call varies by 15 % in duration, 4 % in pitch."""
    trained = list(train_kinds(seed).values())
    assert all(distinct(a, b) for i, a in enumerate(trained) for b in trained[:i])
    for plan in plan_corpus(replace(SMALL, seed=seed)):
        if plan.columns == ("Q",):
            target = middle([call.kind for call in plan.calls if call.column])
            others = [call.kind for call in plan.calls if not call.column] + trained
            assert not any(alike(target, other) for other in others)


def middle(kinds: list[Kind]) -> Kind:
    pitch_hz, duration_s = np.mean([(kind.pitch_hz, kind.duration_s) for kind in kinds], axis=0)
    return replace(kinds[0], pitch_hz=pitch_hz, duration_s=duration_s)


def alike(a: Kind, b: Kind) -> bool:
    near = abs(np.log2(a.pitch_hz / b.pitch_hz)) < 0.15 and abs(np.log2(a.duration_s / b.duration_s)) < 0.7
    return a.family == b.family and near


def band_power(samples: np.ndarray, sample_rate: int, band_hz: tuple[float, float]) -> float:
    frequency, density = scipy.signal.periodogram(samples, sample_rate)
    return density[(frequency >= band_hz[0]) & (frequency <= band_hz[1])].mean()


def test_an_event_is_louder_in_its_band_than_the_gaps_before_and_after(root):
    """The lowest level is 6 dB - 4 dB above the noise of the band: 4 dB louder with the noise added."""
    gains_db = []
    for plan in plan_corpus(SMALL):
        samples, rate = soundfile.read(root / plan.folder / plan.name, always_2d=True)
        edges = [0.0, *(call.offset_s for call in plan.calls)]
        for call, before_s in zip(plan.calls, edges, strict=False):
            if call.column and call.label == "POS":
                inside = samples[round(call.onset_s * rate) : round(call.offset_s * rate), 0]
                outside = samples[round(before_s * rate) : round(call.onset_s * rate), 0]
                powers = [band_power(part, rate, call.kind.band_hz) for part in (inside, outside)]
                gains_db.append(10 * np.log10(powers[0] / powers[1]))
    assert len(gains_db) > 100
    assert np.quantile(gains_db, 0.02) > 2
    assert 6 < np.median(gains_db) < 22


def test_energy_alone_does_not_tell_targets_from_distractors(root):
    for plan in plan_corpus(SMALL):
        if plan.columns != ("Q",):
            continue
        samples, rate = soundfile.read(root / plan.folder / plan.name, always_2d=True)
        level_db = defaultdict(list)
        for call in plan.calls:
            inside = samples[round(call.onset_s * rate) : round(call.offset_s * rate), 0]
            level_db[call.column].append(10 * np.log10(np.mean(inside**2)))
        assert np.quantile(level_db[None], 0.9) > np.quantile(level_db["Q"], 0.5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("duration_s", [0.085, 0.5, 3.0])
def test_a_call_fills_its_span_from_onset_to_offset_inside_its_band(family, duration_s):
    kind = Kind(family, 1500.0, 0.6, False, duration_s, max(9.0, 3.2 / duration_s))
    sound = call_sound(kind, 22050, rng_for(0, family))
    assert sound.size == round(duration_s * 22050)
    assert np.mean(sound**2) == pytest.approx(1)
    loud = np.flatnonzero(np.abs(sound) > 0.1 * np.abs(sound).max()) / 22050
    assert loud[0] < 0.012 and loud[-1] > duration_s - 0.03  # about one frame, two and a half frames
    frequency, power = scipy.signal.periodogram(sound, 22050)
    inside = (frequency >= kind.band_hz[0]) & (frequency <= kind.band_hz[1])
    assert power[inside].sum() > 0.5 * power.sum()
