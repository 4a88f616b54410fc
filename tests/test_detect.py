"""`detect` as a biologist types it: shots in a table, tables out; the same from Python; what can go wrong."""

import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
from stage_calls import whole_run

import fiveshot
from fiveshot.commands import detect, report
from fiveshot.core.yaml import read_yaml
from fiveshot.data.formats.reading import read_tables

pytestmark = pytest.mark.slow
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"
LOW = ["--threshold", "0.05"]  # a network of one epoch is sure of nothing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return whole_run(tmp_path_factory) / "run"


@pytest.fixture
def field(run, tmp_path):
    """A folder as it comes from the field: three recordings, and the first calls of one marked in Raven."""
    source = run.parent / "corpus"
    names = ["20240612_043000.wav", "b.wav", "c.wav"]
    originals = ["Validation_Set/OWL/five.wav", "Training_Set/BIRD/one.wav", "Training_Set/FROG/four.wav"]
    for name, original in zip(names, originals, strict=True):
        (tmp_path / "card").mkdir(exist_ok=True)
        shutil.copy(source / original, tmp_path / "card" / name)
    events = fiveshot.Events.read_csv(source / "Validation_Set/OWL/five.csv").first(5)
    rows = (f"{i}\tSpectrogram 1\t1\t{a}\t{b}\t2500\t3500\towl\n" for i, (a, b) in enumerate(events, 1))
    (tmp_path / "card" / f"{names[0][:-4]}.Table.1.selections.txt").write_text(RAVEN + "".join(rows))
    return tmp_path


def call(field, run, *words, code=0, capsys=None):
    """Call detect in the folder, by default on the marked recording."""
    recordings = (
        [] if words and not str(words[0]).startswith("-") else [field / "card" / "20240612_043000.wav"]
    )
    shots = field / "card" / "20240612_043000.Table.1.selections.txt"
    options = [] if "--shots" in words else ["--shots", shots]
    argv = [*recordings, *words, *options, "--checkpoint", run]
    assert detect.main([str(word) for word in argv]) == code, capsys and capsys.readouterr()


def tables(folder):
    """Every table under a folder by name."""
    files = (
        p
        for p in folder.rglob("*")
        if p.is_file() and p.suffix in (".csv", ".txt") and ".fiveshot" not in p.parts
    )
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_every_form_holds_the_same_events(field, run):
    out = field / "out"
    call(field, run, "--output", out, *LOW)
    stem = "20240612_043000"
    ours = pd.read_csv(out / f"{stem}.events.csv")
    assert list(ours) == [
        *("recording", "onset_s", "offset_s", "label", "confidence", "low_hz", "high_hz", "onset_time")
    ]
    assert len(ours) > 0 and set(ours.label) == {"owl"} and set(ours.recording) == {f"{stem}.wav"}
    assert (ours.low_hz == 2500).all() and (ours.high_hz == 3500).all()
    first = ours.onset_time[0]
    assert first.startswith("2024-06-12T04:30:0") and float(first[17:]) == pytest.approx(
        ours.onset_s[0], abs=1e-3
    )
    raven = read_tables(out / f"{stem}.selections.txt")[f"{stem}.wav"]
    audacity = read_tables(out / f"{stem}.labels.txt")[""]
    for events in (raven, audacity):
        np.testing.assert_array_equal(events.as_array(), ours[["onset_s", "offset_s"]])
        assert events.label.tolist() == ["owl"] * len(ours) and (events.low_hz == 2500).all()
    assert (out / "settings.yaml").is_file() and (out / "report.html").is_file()


def test_python_gives_the_same_to_the_last_bit(field, run):
    call(field, run, "--output", field / "out", *LOW, "--merge-gap", "0.1", "--no-report")
    stored = fiveshot.Events.read_csv(field / "out" / "20240612_043000.events.csv")
    path = field / "card" / "20240612_043000.wav"
    table = field / "card" / "20240612_043000.Table.1.selections.txt"
    samples, rate = soundfile.read(path, dtype="float32")
    shots = fiveshot.Events.read_csv(table)
    options = {"checkpoint": run, "threshold": 0.05, "merge_gap_s": 0.1}
    assert len(stored)
    assert fiveshot.detect(path, table, **options) == stored
    assert fiveshot.detect(samples, shots, sample_rate=rate, **options) == stored


def test_soundevent_reads_what_is_written_for_whombat(field, run):
    soundevent = pytest.importorskip("soundevent", reason="a development extra")
    call(field, run, "--output", field / "out", *LOW, "--format", "csv,aoef", "--no-report")
    path = field / "out" / "20240612_043000.aoef.json"
    before, ours = path.read_bytes(), pd.read_csv(field / "out" / "20240612_043000.events.csv")
    (clip,) = soundevent.io.load(path, audio_dir=field / "card").clip_predictions
    rows = [(*event.sound_event.geometry.coordinates, event.score) for event in clip.sound_events]
    assert (
        rows
        == ours[["onset_s", "low_hz", "offset_s", "high_hz", "confidence"]].to_records(index=False).tolist()
    )
    assert {event.tags[0].tag.value for event in clip.sound_events} == {"owl"}
    assert clip.clip.recording.path == field / "card" / "20240612_043000.wav"
    assert b'"path":"20240612_043000.wav"' in before.replace(b": ", b":")
    path.unlink()
    call(field, run, "--output", field / "out", *LOW, "--format", "csv,aoef", "--no-report")
    assert path.read_bytes() == before


def test_aoef_without_soundevent_is_one_sentence(field, run, monkeypatch, capfd):
    monkeypatch.setattr("fiveshot.data.formats.aoef.find_spec", lambda _: None)
    call(field, run, "--output", field / "out", "--format", "aoef", code=1)
    assert "needs the package soundevent" in capfd.readouterr().err and not (field / "out").exists()


def test_what_else_is_in_the_call_and_its_order_change_nothing(field, run):
    card = field / "card"
    call(field, run, card, "--output", field / "all", *LOW)
    call(
        field,
        run,
        card / "c.wav",
        card / "20240612_043000.wav",
        "--output",
        field / "two",
        *LOW,
        "--no-report",
    )
    every, two = tables(field / "all"), tables(field / "two")
    assert {name.split(".")[0] for name in every} == {"20240612_043000", "b", "c", "all"}
    same = [name for name in two if not name.startswith("all.")]
    assert len(same) == 6 and all(every[name] == two[name] for name in same)
    rows = pd.read_csv(field / "all" / "all.events.csv")
    # The recordings without shots are searched from their start.
    assert rows[rows.recording != "20240612_043000.wav"].onset_s.min() < 1.0
    combined = read_tables(field / "all" / "all.selections.txt")
    for name, events in combined.items():
        of_file = rows[rows.recording == name]
        np.testing.assert_allclose(events.as_array(), of_file[["onset_s", "offset_s"]], atol=1e-9)


def test_another_threshold_computes_nothing_again(field, run, monkeypatch):
    out = field / "out"
    call(field, run, "--output", out, *LOW)
    low = len(pd.read_csv(out / "20240612_043000.events.csv"))
    monkeypatch.setattr("fiveshot.detector.Detector.score", None)
    monkeypatch.setattr("fiveshot.job.write_blocks", None)
    call(field, run, "--output", out, "--threshold", "1.0")
    assert low > len(pd.read_csv(out / "20240612_043000.events.csv")) == 0
    call(field, run, "--output", out, *LOW, "--min-duration", "100", "--format", "csv")
    assert len(pd.read_csv(out / "20240612_043000.events.csv")) == 0
    assert report.main([str(out)]) == 0


def test_without_an_output_folder_tables_lie_beside_the_recordings(field, run):
    card = field / "card"
    call(field, run, *LOW, "--no-report", "--format", "csv,audacity")
    assert (card / "20240612_043000.events.csv").is_file() and (card / "20240612_043000.labels.txt").is_file()
    assert not (card / "20240612_043000.selections.txt").exists()
    before = (card / "20240612_043000.Table.1.selections.txt").read_bytes()
    call(field, run, *LOW, "--no-report")  # again, and with a form more
    assert (card / "20240612_043000.selections.txt").is_file()
    assert (card / "20240612_043000.Table.1.selections.txt").read_bytes() == before


def test_several_labels_are_searched_in_turn_each_as_if_alone(field, run):
    table = field / "card" / "20240612_043000.Table.1.selections.txt"
    owl = table.read_text()
    both = owl + "9\tSpectrogram 1\t1\t0.1\t0.3\t100\t900\tfrog\n"
    (field / "both.txt").write_text(both)
    call(field, run, "--output", field / "owl", *LOW, "--no-report")
    call(field, run, "--shots", field / "both.txt", "--output", field / "both", *LOW, "--no-report")
    alone = pd.read_csv(field / "owl" / "20240612_043000.events.csv")
    rows = pd.read_csv(field / "both" / "20240612_043000.events.csv")
    assert set(rows.label) == {"owl", "frog"} and rows.onset_s.is_monotonic_increasing
    pd.testing.assert_frame_equal(rows[rows.label == "owl"].reset_index(drop=True), alone)
    assert set(rows[rows.label == "frog"].low_hz) == {100.0}


def test_marks_are_learnt_from_and_have_the_last_word(field, run):
    out, marks = field / "out", field / "marks.csv"
    call(field, run, "--output", out, *LOW, "--no-report")
    text = "recording,onset_s,offset_s,label,confidence,mark\n20240612_043000.wav,4.9,5.15,owl,0.5,yes\n"
    marks.write_text(f"{text}20240612_043000.wav,5.2,5.5,owl,0.5,no\n")
    call(field, run, "--output", out, *LOW, "--marks", marks)
    after = pd.read_csv(out / "20240612_043000.events.csv")
    assert ((after.onset_s == 4.9) & (after.offset_s == 5.15) & (after.confidence == 1)).sum() == 1
    assert not ((after.onset_s == 5.2) & (after.offset_s == 5.5)).any()
    assert len(list((out / ".fiveshot" / "scores").iterdir())) == 2  # those of before are still there
    card = field / "card"
    reviewed = read_tables(marks)["20240612_043000.wav"]
    again = fiveshot.detect(
        card / "20240612_043000.wav",
        card / "20240612_043000.Table.1.selections.txt",
        run,
        marks=reviewed,
        threshold=0.05,
    )
    np.testing.assert_array_equal(again.as_array(), after[["onset_s", "offset_s"]])


def test_one_shot_is_enough_for_a_warning(field, run, capfd):
    (field / "one.txt").write_text("0.4\t0.65\towl\n")
    call(field, run, "--shots", field / "one.txt", "--output", field / "out", *LOW, "--no-report")
    assert "warning: only 1 shot of owl; mark five" in capfd.readouterr().out


def test_a_bad_recording_costs_itself_alone(field, run, capfd):
    (field / "card" / "b.wav").write_bytes(b"no audio")
    call(field, run, field / "card", "--output", field / "out", *LOW, "--no-report", code=3)
    assert "b.wav: not readable as audio" in capfd.readouterr().out
    assert {name.split(".")[0] for name in tables(field / "out")} == {"20240612_043000", "c", "all"}
    call(field, run, field / "card", "--output", field / "strict", *LOW, "--strict", code=1)
    assert not (field / "strict").exists()


SHOTS = "0.4\t0.65\towl\n1.3\t1.55\towl\n"
WRONG = {
    "no recording": (["{card}/none.wav"], "none.wav: there is no such file or folder"),
    "no audio in the folder": (["{field}/empty"], "empty: no audio in this folder"),
    "no table": (["--shots", "{field}/none.txt"], "none.txt: there is no such file"),
    "an unknown table": (["--shots", "{field}/odd.txt"], "odd.txt: line 1: no columns onset and offset"),
    "no marks": (["--shots", "{field}/nothing.csv"], "nothing.csv: no marked events"),
    "shots behind the end": (["--shots", "{field}/late.txt"], "a shot begins at 100.000 s, after the end"),
    "shots of an unnamed recording": (
        ["{card}", "--shots", "{field}/shots.txt"],
        "does not say which recording it belongs to; name it by --shots-audio",
    ),
    "shots of an absent recording": (["--shots", "{field}/other.csv"], "'gone.wav', which is neither among"),
    "no label column": (["--label-column", "kind"], "no column 'kind'"),
    "marks of another recording": (["--marks", "{field}/other.csv"], "marks of 'gone.wav'"),
    "a form": (["--format", "raven,xml"], "--format xml: unknown"),
    "a threshold": (["--threshold", "2"], "--threshold 2: give a number from 0 to 1"),
    "a length": (["--min-duration", "-1"], "--min-duration -1: give seconds from 0 up"),
    "a setting": (["--set", "detect.nonsense=1"], "nonsense"),
}


@pytest.mark.parametrize("case", WRONG, ids=list(WRONG))
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(field, run, case, capfd):
    words, message = WRONG[case]
    (field / "empty").mkdir()
    (field / "odd.txt").write_text("name\tplace\na\tb\n")
    (field / "nothing.csv").write_text("onset_s,offset_s\n")
    (field / "late.txt").write_text("100\t101\towl\n")
    (field / "shots.txt").write_text(SHOTS)
    (field / "other.csv").write_text("recording,onset_s,offset_s,mark\ngone.wav,1,2,yes\n")
    before = sorted(field.rglob("*"))
    words = [word.format(field=field, card=field / "card") for word in words]
    call(field, run, *words, "--output", field / "out", code=1)
    said = capfd.readouterr()
    assert message in said.out + said.err and "Traceback" not in said.out + said.err
    left = [path for path in sorted(field.rglob("*")) if path not in before and ".fiveshot" not in path.parts]
    assert left in ([], [field / "out"])


def test_results_of_others_are_not_replaced(field, run, capfd):
    card = field / "card"
    (card / "20240612_043000.labels.txt").write_text("mine")
    call(field, run, *LOW, code=1)
    assert "20240612_043000.labels.txt: is there already" in capfd.readouterr().err
    assert (card / "20240612_043000.labels.txt").read_text() == "mine"
    out = field / "out"
    call(field, run, "--output", out, *LOW, "--no-report")
    before = tables(out)
    (field / "shots.txt").write_text(SHOTS)
    words = ("--shots", field / "shots.txt", "--output", out, *LOW, "--no-report")
    call(field, run, *words, code=1)
    assert "holds results of other shots" in capfd.readouterr().err and tables(out) == before
    call(field, run, *words, "--replace")
    assert tables(out) != before


def test_an_output_that_is_a_file_is_named(field, run, capfd):
    (field / "out").write_text("a file")
    call(field, run, "--output", field / "out", *LOW, code=1)
    assert "out" in capfd.readouterr().err and (field / "out").read_text() == "a file"


def test_without_a_checkpoint_the_model_of_the_package_is_used(field):
    path = field / "card" / "20240612_043000.wav"
    table = field / "card" / "20240612_043000.Table.1.selections.txt"
    fast = ["--set", "finetune.sed.steps=3", "--set", "finetune.te_vad.steps=3", "--no-report"]
    words = [path, "--shots", table, "--output", field / "out", *fast]
    assert detect.main([str(word) for word in words]) == 0
    assert read_yaml(field / "out" / "settings.yaml")["checkpoint"] == "the model of the package"


def test_a_folder_without_results_has_no_report(field, capfd):
    assert report.main([str(field)]) == 1
    assert "neither results of detect nor a scored run" in capfd.readouterr().err
    assert report.main([str(field / "none")]) == 1


def test_a_scored_run_has_a_report(run):
    assert report.main([str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "Precision" in page and "OWL" in page


def test_the_bench_of_marks_scores_every_choice(run, capsys):
    from bench import marks

    results = marks.main([str(run), "--data", str(run.parent / "corpus"), "--marks", "2"])
    assert set(results) == {("before", 0, "")} | {
        (way, 2, kind) for way in ("ours", "random") for kind in ("learnt", "list")
    }
    assert "mean of recordings" in capsys.readouterr().out
