"""Corpus: a small data set in the official layout, and each way in which one recording can be wrong."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fiveshot.core.errors import FiveshotError
from fiveshot.data.corpus import class_label, corpus_table, read_corpus, require_recordings, training_classes

HEAD = "Audiofilename,Starttime,Endtime"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
RATE = 8000
DURATION_S = 10.0


class Folder:
    """A data set on disk that is changed file by file."""

    def __init__(self, root):
        self.root = root
        self.recording("Training_Set/BIRDS/one", f"{HEAD},a,b\none.wav,1,2,POS,UNK\none.wav,3,4,NEG,POS\n")
        self.recording("Training_Set/FROG/two", f"{HEAD},CALL\ntwo.wav,1,2,POS\n", suffix=".flac")
        self.recording("Validation_Set/OWL/three", q_csv("three"))

    def recording(self, stem, text, suffix=".wav", **audio):
        self.audio(stem + suffix, **audio)
        return self.csv(stem, text)

    def audio(self, name, duration_s=DURATION_S, channels=1, rate=RATE):
        path = self._path(name)
        soundfile.write(str(path), np.zeros((round(duration_s * rate), channels)), rate)
        return path

    def csv(self, stem, text):
        path = self._path(stem + ".csv")
        path.write_text(text)
        return path

    def read(self, **settings):
        return read_corpus(self.root, **settings)

    def _path(self, name):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def q_csv(name, times=((1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (7, 8))):
    return "\n".join([f"{HEAD},Q", *(f"{name}.wav,{onset},{offset},POS" for onset, offset in times)])


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


def the_problem(folder, path, words):
    """The only problem is that of `path`; the three good recordings are still there."""
    corpus = folder.read()
    assert [problem.path for problem in corpus.problems] == [folder.root / path]
    assert words in corpus.problems[0].message
    assert corpus.problems[0].message.count(str(folder.root)) == 0  # the path is named once
    assert [item.name for item in corpus.train + corpus.test] == ["one", "two", "three"]


def test_a_recording_knows_its_place_its_audio_and_its_events(folder):
    corpus = folder.read()
    two, three = corpus.train[1], corpus.test[0]
    assert (two.split, two.subset, two.name, two.key) == ("train", "FROG", "two", "FROG/two")
    assert (two.audio.name, two.csv.name, two.audio_name) == ("two.flac", "two.csv", "two.wav")
    assert (two.sample_rate, two.channels, two.duration_s) == (RATE, 1, DURATION_S)
    assert list(two.events.class_name) == ["FROG"]
    assert (three.split, three.key, len(three.events)) == ("test", "OWL/three", 6)
    assert corpus.problems == () and folder.read() == corpus


def test_a_class_is_the_pair_of_subset_and_column(folder):
    folder.recording("Training_Set/OTHER/x", f"{HEAD},a,z\nx.wav,1,2,POS,UNK\n")
    assert training_classes(folder.read().train) == ["BIRDS/a", "BIRDS/b", "FROG/CALL", "OTHER/a"]
    assert class_label("FROG", "FROG") == "FROG/CALL" and class_label("FROG", "a") == "FROG/a"


def test_recordings_lie_at_any_depth_with_any_letters_and_come_sorted(folder):
    folder.recording("Training_Set/FROG/deep/er/a b #1", f"{HEAD},CALL\n", suffix=".WAV")
    folder.recording("Training_Set/FROG/deep/v1.2", f"{HEAD},CALL\n", suffix=".FLAC", channels=2)
    corpus = folder.read()
    keys = [item.key for item in corpus.train]
    assert keys == ["BIRDS/one", "FROG/deep/er/a b #1", "FROG/deep/v1.2", "FROG/two"]
    assert corpus.train[1].name == "a b #1" and corpus.train[2].channels == 2
    assert corpus.problems == ()


def test_one_stem_in_two_folders_makes_two_training_recordings(folder):
    folder.recording("Training_Set/FROG/deep/two", f"{HEAD},CALL\n")
    assert [item.key for item in folder.read().train] == ["BIRDS/one", "FROG/deep/two", "FROG/two"]


def test_accents_pair_in_both_spellings_of_unicode(folder):
    folder.audio("Training_Set/FROG/caf\u00e9.wav")
    folder.csv("Training_Set/FROG/cafe\u0301", f"{HEAD},CALL\n")
    corpus = folder.read()
    assert corpus.train[1].key == "FROG/caf\u00e9" and corpus.problems == ()


def test_hidden_files_and_other_files_are_passed_over(folder):
    for name in ("FROG/._two.wav", "FROG/.two.csv", ".hidden/x.wav", "__MACOSX/two.wav", "FROG/notes.txt"):
        folder._path(f"Training_Set/{name}").write_bytes(b"?")
    folder._path("Training_Set/FROG/__MACOSX/x.csv").write_bytes(b"?")
    assert folder.read().problems == () and len(folder.read().train) == 2


def test_symbolic_links_are_followed_and_a_circle_ends(folder):
    (folder.root / "Training_Set/LINK").symlink_to(folder.root / "Training_Set/FROG")
    (folder.root / "Training_Set/FROG/back").symlink_to(folder.root / "Training_Set/FROG")
    corpus = folder.read()
    assert [item.key for item in corpus.train] == ["BIRDS/one", "FROG/two", "LINK/two"]
    assert corpus.problems == ()


@pytest.mark.parametrize("name", ["Training_Set", "Validation_Set"])
def test_a_missing_split_is_refused_only_where_it_is_needed(folder, name):
    (folder.root / name).rename(folder.root / "elsewhere")
    with pytest.raises(FiveshotError, match=f"{name}: there is no such folder"):
        folder.read()
    train = name == "Training_Set"
    corpus = folder.read(need_train=not train, need_test=train)
    assert (len(corpus.train), len(corpus.test)) == ((0, 1) if train else (2, 0))


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(FiveshotError, match="none: there is no such folder"):
        read_corpus(tmp_path / "none")


def test_folders_of_other_names_are_read(folder):
    (folder.root / "Validation_Set").rename(folder.root / "Evaluation")
    assert len(folder.read(test_folder="Evaluation").test) == 1


def test_audio_without_a_csv_is_a_problem(folder):
    folder.audio("Training_Set/FROG/x.wav")
    the_problem(folder, "Training_Set/FROG/x.wav", "there is no x.csv beside it")


def test_a_csv_without_audio_is_a_problem(folder):
    folder.csv("Training_Set/FROG/x", f"{HEAD},CALL\n")
    the_problem(folder, "Training_Set/FROG/x.csv", "there is no x.wav or x.flac beside it")


def test_a_link_to_nowhere_counts_as_no_audio(folder):
    folder.csv("Training_Set/FROG/x", f"{HEAD},CALL\n").with_suffix(".wav").symlink_to("nowhere.wav")
    problems = {problem.path.name: problem.message for problem in folder.read().problems}
    assert "link to nothing" in problems["x.wav"] and "there is no x.wav" in problems["x.csv"]


def test_two_audio_files_of_one_stem_are_a_problem(folder):
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\n")
    folder.audio("Training_Set/FROG/x.flac")
    the_problem(folder, "Training_Set/FROG/x.csv", "x.csv, x.flac, x.wav share one name")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"no audio" * 99, "not readable as audio")],
    ids=["empty", "corrupt"],
)
def test_audio_that_cannot_be_read_is_a_problem(folder, content, words):
    path = folder.csv("Training_Set/FROG/x", f"{HEAD},CALL\n").with_suffix(".wav")
    path.write_bytes(content)
    the_problem(folder, "Training_Set/FROG/x.wav", words)


def test_audio_of_no_length_is_a_problem(folder):
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\n", duration_s=0)
    the_problem(folder, "Training_Set/FROG/x.wav", "no samples")


def test_a_mistake_in_a_csv_is_a_problem(folder):
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\nx.wav,1,2,MAYBE\n")
    the_problem(folder, "Training_Set/FROG/x.csv", "line 2, column 'CALL' is 'MAYBE'")


def test_damage_of_audio_and_csv_is_reported_at_once(folder):
    folder.recording("Training_Set/FROG/x", "", duration_s=0)
    assert [problem.path.name for problem in folder.read().problems] == ["x.wav", "x.csv"]


def the_warning(folder, path, *words):
    """All recordings are there, and the only warnings are of `path`, one for each of the words."""
    corpus = folder.read()
    assert corpus.problems == () and [warning.path for warning in corpus.warnings] == [
        folder.root / path
    ] * len(words)
    for warning, word in zip(corpus.warnings, words, strict=True):
        assert word in warning.message and str(folder.root) not in warning.message
    return corpus


@pytest.mark.parametrize("span", ["10.0,10.05", "9.5,11", "400,401"])
def test_an_event_beyond_the_audio_is_left_out_and_named_with_its_line(folder, span):
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\nx.wav,1,2,POS\nx.wav,{span},UNK\n")
    corpus = the_warning(folder, "Training_Set/FROG/x.csv", "line 3: the event from")
    assert list(corpus.train[2].events.onset_s) == [1] and "left out" in corpus.warnings[0].message


def test_an_event_of_which_the_end_cuts_the_smaller_part_is_clipped_and_named(folder):
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\nx.wav,8,11.5,POS\n")
    corpus = the_warning(folder, "Training_Set/FROG/x.csv", "line 2: the event from 8.0000 to 11.5000")
    assert list(corpus.train[2].events.offset_s) == [DURATION_S] and "cut there" in corpus.warnings[0].message


def test_a_table_whose_events_are_mostly_beyond_the_audio_is_a_problem(folder):
    rows = "".join(f"x.wav,{onset},{onset + 1},POS\n" for onset in (1, 20, 30))
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\n{rows}")
    the_problem(folder, "Training_Set/FROG/x.csv", "line 3: the event from 20.0000 to 21.0000")


@pytest.mark.parametrize(("factor", "unit"), [(1000, "milliseconds"), (RATE, "samples")])
def test_times_that_make_sense_in_another_unit_alone_are_named_as_such(folder, factor, unit):
    times = [(factor * n, factor * n + factor // 2) for n in range(1, 8)]
    folder.recording("Validation_Set/OWL/x", q_csv("x", times))
    the_problem(folder, "Validation_Set/OWL/x.csv", f"the times only make sense as {unit}")


def test_shots_that_overlap_are_told(folder):
    folder.recording(
        "Validation_Set/OWL/x", q_csv("x", [(1, 2), (1.5, 2.5), (3, 4), (4, 5), (4, 5.5), (7, 8)])
    )
    the_warning(folder, "Validation_Set/OWL/x.csv", "line 3: the shot from 1.500 to 2.500 s overlaps")


def test_a_test_table_among_training_tables_is_told(folder):
    folder.recording("Training_Set/FROG/x", q_csv("x"))
    the_warning(folder, "Training_Set/FROG/x.csv", "has the column Q of a test table")


def test_a_table_that_names_a_neighbour_is_told_and_takes_nothing_from_it(folder):
    folder.recording("Validation_Set/OWL/x", q_csv("THREE"))
    corpus = the_warning(
        folder, "Validation_Set/OWL/x.csv", "its Audiofilename is 'THREE.wav', which is another"
    )
    assert [(item.key, item.audio_name, len(item.events)) for item in corpus.test] == [
        ("OWL/three", "three.wav", 6),
        ("OWL/x", "x.wav", 6),
    ]


@pytest.mark.parametrize("name", ["X", "x.wav", "X.WAV", " x"])
def test_files_whose_names_differ_in_case_or_suffix_are_a_pair_where_nothing_else_fits(folder, name):
    folder.audio("Training_Set/FROG/x.wav")
    path = folder.csv(f"Training_Set/FROG/{name}", f"{HEAD},CALL\nx.wav,1,2,POS\n")
    corpus = folder.read()
    assert corpus.problems == () and (corpus.train[2].key, corpus.train[2].csv) == ("FROG/x", path)


def test_names_that_differ_in_case_are_no_pairs_where_it_is_not_clear_which(folder):
    for name in ("x", "X"):
        folder.audio(f"Training_Set/FROG/{name}.wav")
    if len(list((folder.root / "Training_Set/FROG").glob("?.wav"))) == 1:
        pytest.skip("the file system does not tell cases apart")
    folder.csv("Training_Set/FROG/x", f"{HEAD},CALL\nx.wav,1,2,POS\n")
    the_problem_left = folder.read().problems
    assert [problem.path.name for problem in the_problem_left] == ["X.wav"]


def test_what_systems_leave_and_tables_of_other_things_are_passed_over(folder):
    for name in ("$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir"):
        folder._path(f"Validation_Set/{name}/x.wav").write_bytes(b"?")
    for name in ("Icon\r", "Thumbs.db", "desktop.ini", "~$three.csv", "._three.wav"):
        folder._path(f"Validation_Set/OWL/{name}").write_bytes(b"")
    folder.csv("Validation_Set/OWL/metadata", "site,date\n1,2023\n")
    corpus = folder.read()
    assert corpus.problems == corpus.warnings == () and len(corpus.test) == 1


MARKS = {"x.Table.1.selections.txt": "of Raven", "x.txt": "of Audacity", "X.xlsx": "a workbook"}


@pytest.mark.parametrize(("name", "what"), MARKS.items())
def test_marks_of_other_programs_that_lie_beside_the_audio_are_named(folder, name, what):
    folder.audio("Validation_Set/OWL/x.wav")
    folder._path(f"Validation_Set/OWL/{name}").write_text("?")
    the_problem(folder, "Validation_Set/OWL/x.wav", f"there is no x.csv beside it, but {name}, ")
    assert what in folder.read().problems[0].message


def test_audio_of_a_container_that_is_not_read_is_named_with_its_conversion(folder):
    folder.csv("Validation_Set/OWL/x y", q_csv("x y"))
    folder._path("Validation_Set/OWL/x y.m4a").write_bytes(b"?")
    the_problem(folder, "Validation_Set/OWL/x y.m4a", "convert it: ffmpeg -i 'x y.m4a' 'x y.wav'.")


def test_audio_of_a_name_that_is_near_is_named(folder):
    folder.csv("Validation_Set/OWL/recording_12", q_csv("recording_12"))
    folder.recording("Validation_Set/OWL/Recording_13", q_csv("Recording_13"))
    problem = next(iter(folder.read().problems))
    assert "there is no recording_12.wav" in problem.message and "Recording_13.wav" in problem.message


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".AIFF", ".caf", ".w64"])
def test_every_container_is_a_recording(folder, suffix):
    folder.recording("Validation_Set/OWL/x", q_csv("x"), suffix=suffix)
    corpus = folder.read()
    assert corpus.problems == () and corpus.test[1].audio.suffix == suffix
    assert corpus.test[1].duration_s == pytest.approx(DURATION_S, abs=0.1)


def test_a_split_without_a_usable_recording_is_refused_with_its_cause(folder):
    folder.csv("Validation_Set/OWL/three", f"{HEAD},Q\n")
    corpus, split = folder.read(), folder.root / "Validation_Set"
    with pytest.raises(FiveshotError, match=r"no usable recording; .*three\.csv: 0 POS events found"):
        require_recordings(corpus.test, corpus, split)
    require_recordings(corpus.train, corpus, folder.root / "Training_Set")


def test_of_many_problems_of_a_kind_the_first_are_named(folder):
    for number in range(40):
        folder.audio(f"Validation_Set/OWL/u{number:02}.wav", duration_s=0.1)
    lines = corpus_table(folder.read()).splitlines()
    (line,) = [line for line in lines if "u00.wav" in line]
    assert "there is no u00.csv beside it; add it. (39 more of this kind: u01.wav, u02.wav, ...)" in line
    assert "40 problems" in lines and len([line for line in lines if "there is no" in line]) == 1


def test_what_stands_in_a_list_of_the_run_is_not_repeated(folder, tmp_path):
    folder.audio("Validation_Set/OWL/u.wav")
    corpus = folder.read()
    lists = tmp_path / "problems"
    lists.mkdir()
    (lists / "feature.txt").write_text(f"left out: {corpus.problems[0]}\n")
    table = corpus_table(corpus, lists)
    assert f"1 problem, 1 lines of {lists} not repeated" in table and "u.wav" not in table


@pytest.mark.parametrize("end", [10.0, 10.03, 10.1])
def test_an_event_that_ends_just_beyond_the_audio_is_clipped(folder, end):
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\nx.wav,1,2,POS\nx.wav,9,{end},POS\n")
    corpus = folder.read()
    assert list(corpus.train[2].events.offset_s) == [2.0, DURATION_S] and corpus.problems == ()


def test_fewer_than_five_shots_are_a_problem(folder):
    folder.recording("Validation_Set/OWL/x", q_csv("x", [(1, 2), (2, 3), (3, 4), (4, 5)]))
    the_problem(folder, "Validation_Set/OWL/x.csv", "4 POS events found where 5 are needed")


@pytest.mark.parametrize("end", [10.0, 10.04])
def test_a_recording_that_ends_with_its_fifth_shot_is_a_problem(folder, end):
    folder.recording("Validation_Set/OWL/x", q_csv("x", [(1, 2), (2, 3), (3, 4), (4, 5), (9, end)]))
    the_problem(folder, "Validation_Set/OWL/x.csv", "leaves no query")


def test_five_shots_and_no_further_event_are_enough(folder):
    folder.recording("Validation_Set/OWL/x", q_csv("x", [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]))
    assert [item.name for item in folder.read().test] == ["three", "x"]


def test_a_subset_without_recordings_is_a_problem(folder):
    folder._path("Training_Set/EMPTY/notes.txt").write_text("")
    the_problem(folder, "Training_Set/EMPTY", "holds no recordings")


def test_audio_outside_any_subset_is_a_problem(folder):
    folder.audio("Training_Set/x.wav")
    the_problem(folder, "Training_Set/x.wav", "lies in no subset folder")


@pytest.mark.parametrize("stem", ["CROW/x", "OWL/deep/x"])
def test_test_recordings_of_one_name_are_all_kept_and_noted_once(folder, stem):
    folder.recording("Validation_Set/OWL/x", q_csv("x"))
    folder.recording(f"Validation_Set/{stem}", q_csv("x"))
    corpus = folder.read()
    assert corpus.problems == () and len({item.key for item in corpus.test}) == len(corpus.test) == 3
    (note,) = corpus.notes
    assert "1 name is that of several test recordings" in note and stem in note and "OWL/x" in note


def test_training_recordings_of_one_name_are_nothing_to_note(folder):
    folder.recording("Training_Set/BIRDS/two", f"{HEAD},a\ntwo.wav,1,2,POS\n")
    assert folder.read().notes == ()


def test_a_recording_is_named_after_its_file_and_what_the_csv_says_is_reported_once(folder):
    for stem, named in (("a1", "hyena"), ("b1", "hyena"), ("c 1 #2", "one")):
        folder.recording(f"Validation_Set/HT/{stem}", q_csv(named))
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\nx.wav,1,2,POS\ny.wav,3,4,POS\n")
    corpus = folder.read()
    assert [item.audio_name for item in corpus.test] == ["a1.wav", "b1.wav", "c 1 #2.wav", "three.wav"]
    assert corpus.train[2].audio_name == "x.wav" and corpus.problems == ()
    (note,) = corpus.notes
    assert "4 csv files name other audio" in note and "FROG/x.csv: y.wav" in note
    assert corpus_table(corpus).splitlines()[-2:] == ["0 problems", note]


def test_a_corpus_whose_csv_files_name_their_audio_has_no_notes(folder):
    folder.recording("Training_Set/FROG/x", f"{HEAD},CALL\nFROG/x.FLAC,1,2,POS\nx.csv,3,4,POS\n")
    assert folder.read().notes == ()


def test_a_name_that_is_no_utf8_is_a_problem_that_can_be_printed(folder):
    name = os.path.join(os.fsencode(folder.root), b"Training_Set", b"FROG", b"\xff.csv")
    try:
        with open(name, "wb"):
            pass
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    the_problem(folder, "Training_Set/FROG", "does not print")
    assert corpus_table(folder.read()).encode()


def test_the_table_counts_recordings_minutes_classes_and_events(folder):
    folder.recording("Training_Set/BIRDS/x", f"{HEAD},a\n", channels=2, rate=16000, duration_s=20)
    folder.audio("Training_Set/BIRDS/lonely.wav")
    lines = [line.split() for line in corpus_table(folder.read()).splitlines()]
    assert lines[1] == ["train", "BIRDS", "2", "0.5", "2", "2", "1", "8000", "16000", "1", "2"]
    assert lines[2] == ["train", "FROG", "1", "0.2", "1", "1", "0", "8000", "1"]
    assert lines[3] == ["train", "total", "3", "0.7", "3", "3", "1", "8000", "16000", "1", "2"]
    assert lines[5] == ["test", "total", "1", "0.2", "1", "6", "0", "8000", "1"]
    assert lines[6] == ["1", "problem"] and "lonely.wav:" in lines[7][0]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real recordings are not in {REAL}")
def test_the_real_recordings_are_read_without_a_problem():
    corpus = read_corpus(REAL)
    assert corpus.problems == ()
    assert len(corpus.test) == 12 and len(training_classes(corpus.train)) == 52
    assert sum(len(item.events.positive()) for item in corpus.test) == 340
    assert len({item.key for item in corpus.train + corpus.test}) == len(corpus.train) + 12
