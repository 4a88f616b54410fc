"""The fine-tuning stage: what is kept, what is made again, and that one bad recording stops no other."""

import logging
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from small import (
    QUERY_EVENTS,
    SHOTS,
    bright,
    cpu,
    small_config,
    small_corpus,
    small_training_data,
    training_recordings,
    write_recording,
)

from fiveshot.adaptation import learner, sed, te_vad
from fiveshot.adaptation.finetune import finetune_all
from fiveshot.adaptation.learner import load_learner
from fiveshot.adaptation.network_branch import FittedBranch
from fiveshot.core.errors import FiveshotError
from fiveshot.core.provenance import Provenance
from fiveshot.core.renamed_keys import leaves, nested
from fiveshot.data.feature_files import feature_path
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.run.folder import Run
from fiveshot.training.loop import train
from fiveshot.training.replay import Replay, has_replay, keep_replay, replay_path
from fiveshot.training.windows import labelled_files

SOURCES = {"sed": Provenance({"steps": 1}), "te_vad": Provenance({"steps": 2})}
QUICK = (
    "train.epochs=1",
    "finetune.sed.steps=4",
    "finetune.sed.pseudo_labels.from_step=2",
    "finetune.te_vad.steps=3",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a checkpoint, features of its corpus, and that corpus."""
    run, config = Run(tmp_path_factory.mktemp("trained")), small_config(*QUICK)
    corpus = small_corpus(run, config)
    train(run, small_training_data(run, config), config, cpu(config))
    return run, corpus


@pytest.fixture
def stage(trained, tmp_path, monkeypatch):
    """The fine-tuning stage on a copy of the trained run, counting the fits of each branch."""
    return Stage(trained, tmp_path / "run", monkeypatch)


class Stage:
    def __init__(self, trained, folder, monkeypatch):
        original, self.corpus = trained
        shutil.copytree(original.folder, folder)
        self.run = Run(folder)
        self.fits = []
        for module in (sed, te_vad):
            monkeypatch.setattr(type(module.METHOD), "fit", self._counted(type(module.METHOD).fit))

    def _counted(self, real):
        def counted(method, *arguments):
            self.fits.append(method.name)
            return real(method, *arguments)

        return counted

    def __call__(self, *changes, strict=False, corpus=None):
        """Detections and problems, after forgetting earlier fits."""
        self.fits.clear()
        config = small_config(*QUICK, *changes)
        return finetune_all(self.run, corpus or self.corpus, config, cpu(config), strict)

    def path(self, number=0):
        return scores_path(self.run, self.corpus.test[number])

    def bytes(self, number=0):
        return self.path(number).read_bytes()


def probabilities():
    return FrameScores(
        audio_name="a.wav",
        frame_rate=86.1328125,
        padding_s=0.025,
        shots_s=np.arange(10.0).reshape(5, 2) / 3,
        branches={"sed": np.linspace(0, 1, 50, dtype=np.float32), "te_vad": np.zeros(50, np.float32)},
        levels={"sed": 0.9, "te_vad": 1 / 3},
        similarity=np.linspace(-0.5, 2, 50, dtype=np.float32),
    )


def test_probabilities_come_back_as_they_were(tmp_path):
    written = probabilities()
    written.write(tmp_path / "deep" / "a.h5", SOURCES)
    read = FrameScores.read(tmp_path / "deep" / "a.h5")
    for field in ("audio_name", "frame_rate", "padding_s", "levels"):
        assert getattr(read, field) == getattr(written, field)
    assert np.array_equal(read.shots_s, written.shots_s)
    assert np.array_equal(read.similarity, written.similarity)
    assert read.branches.keys() == written.branches.keys()
    assert all(np.array_equal(read.branches[name], written.branches[name]) for name in read.branches)


def test_absent_probabilities_name_the_stage(tmp_path):
    with pytest.raises(FiveshotError, match="run the finetune stage first"):
        FrameScores.read(tmp_path / "a.h5")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_probability_file_is_said_to_be_damaged(tmp_path, share):
    path = tmp_path / "a.h5"
    probabilities().write(path, SOURCES)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FiveshotError, match=r"a\.h5: a damaged file of probabilities"):
        FrameScores.read(path)


def test_a_flipped_bit_among_the_probabilities_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    probabilities().write(path, SOURCES)
    with h5py.File(path) as file:
        chunk = file["sed"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(FiveshotError, match=r"a\.h5: a damaged file of probabilities"):
        FrameScores.read(path)


def test_every_recording_gets_both_branches_and_events_of_its_own(stage):
    detections, problems = stage()
    assert not problems and sorted(stage.fits) == ["sed", "sed", "te_vad", "te_vad"]
    for number, recording in enumerate(stage.corpus.test):
        found = FrameScores.read(stage.path(number))
        assert found.audio_name == recording.audio_name
        assert set(found.branches) == {"sed", "te_vad"}
        assert all(len(p) == 420 and ((p >= 0) & (p <= 1)).all() for p in found.branches.values())
        assert np.allclose(found.shots_s[:, 0], recording.events.onset_s[:5])
    assert {d.audio_name for d in detections} <= {"x.wav", "y.wav"}
    ends = {r.audio_name: r.events.offset_s[4] for r in stage.corpus.test}
    assert all(d.onset_s >= ends[d.audio_name] for d in detections)


def of_one_name(stage, folder, sounds):
    """The first recording, and a copy of it in another subset with the same features."""
    found = []
    for subset, sound in zip(("OWL", "OWL24"), sounds, strict=True):
        audio = folder / f"{subset}.wav"
        audio.write_bytes(sound)
        one = replace(stage.corpus.test[0], subset=subset, key=f"{subset}/x", audio=audio)
        write_recording(stage.run, small_config(), one, bright(420, SHOTS + QUERY_EVENTS, 10), subset)
        found.append(one)
    return replace(stage.corpus, test=tuple(found))


def test_a_recording_in_two_subsets_is_fine_tuned_once_and_has_its_events_in_both(stage, tmp_path):
    corpus = of_one_name(stage, tmp_path, (b"sound", b"sound"))
    detections, problems = stage(corpus=corpus)
    assert not problems and sorted(stage.fits) == ["sed", "te_vad"]
    times = {key: [d.onset_s for d in detections if d.key == key] for key in ("OWL/x", "OWL24/x")}
    assert times["OWL/x"] == times["OWL24/x"]
    assert stage(corpus=corpus) == (detections, problems) and stage.fits == []


def test_recordings_of_one_name_with_other_audio_are_fine_tuned_each_by_itself(stage, tmp_path):
    _, problems = stage(corpus=of_one_name(stage, tmp_path, (b"sound", b"another")))
    assert not problems and sorted(stage.fits) == ["sed", "sed", "te_vad", "te_vad"]
    found = [FrameScores.read(stage.run.probabilities / subset / "x.h5") for subset in ("OWL", "OWL24")]
    assert not np.array_equal(found[0].branches["sed"], found[1].branches["sed"])


def test_what_is_done_is_kept(stage):
    first = stage()
    before = stage.bytes()
    assert stage() == first
    assert stage.fits == [] and stage.bytes() == before


def test_a_name_kept_from_the_csv_by_an_earlier_version_follows_the_file(stage):
    first = stage()
    right = stage.bytes()
    old = FrameScores.read(stage.path())
    with h5py.File(stage.path()) as file:
        sources = {
            name: Provenance.from_json(bytes(file[name].attrs["made_from"]).decode()) for name in old.branches
        }
    replace(old, audio_name="wrong.wav").write(stage.path(), sources)
    assert stage() == first and stage.fits == []
    assert stage.bytes() == right


def test_another_threshold_needs_no_fitting(stage):
    stage()
    few, _ = stage("detect.threshold.mode=fixed", "detect.threshold.value=1")
    many, _ = stage("detect.threshold.mode=fixed", "detect.threshold.value=0")
    assert stage.fits == [] and len(few) < len(many)


def test_training_windows_pass_the_frozen_blocks_once_and_only_where_a_branch_is_fitted(stage, monkeypatch):
    passed, real = [], learner.replay_windows
    monkeypatch.setattr(learner, "replay_windows", lambda *given: passed.append(1) or real(*given))
    stage("detect.methods=[te_vad]")
    assert passed == []
    stage()
    assert passed == [1]
    stage("detect.threshold.value=0.9")
    assert passed == [1]


@pytest.mark.parametrize(("first", "second"), [("sed", "te_vad"), ("te_vad", "sed")])
def test_the_other_branch_is_added_without_fitting_the_first_again(stage, first, second):
    stage(f"detect.methods=[{first}]")
    assert stage.fits == [first] * 2
    alone = FrameScores.read(stage.path())
    assert list(alone.branches) == [first]
    stage("detect.methods=[sed, te_vad]")
    assert stage.fits == [second] * 2
    both = FrameScores.read(stage.path())
    assert np.array_equal(both.branches[first], alone.branches[first])
    assert both.levels[first] == alone.levels[first]


def test_branches_fitted_one_by_one_are_those_fitted_together(stage):
    stage()
    together = FrameScores.read(stage.path())
    stage.path().unlink()
    stage("detect.methods=[te_vad]")
    stage()
    apart = FrameScores.read(stage.path())
    assert together.levels == apart.levels
    assert all(np.array_equal(together.branches[n], apart.branches[n]) for n in together.branches)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "finetune.sed.steps=5",
        "finetune.support.kind=natural",
        "seed=99",
        "labels.event_padding_s=0.01",
        "windows.hop_frames=20",
        "finetune.sed.pseudo_labels.median_frames=3",
        "finetune.sed.pseudo_labels.long_shot_frames=9",
        "finetune.sed.pseudo_labels.long_smooth_frames=9",
    ],
)
def test_settings_that_shape_the_probabilities_regenerate_them(stage, change):
    stage("detect.methods=[sed]")
    stage("detect.methods=[sed]", change)
    assert stage.fits == ["sed"] * 2


@pytest.mark.parametrize(
    ("change", "refitted"),
    [
        ("finetune.sed.steps=5", "sed"),
        ("finetune.te_vad.steps=5", "te_vad"),
        ("finetune.sed.pseudo_labels.median_frames=3", "sed"),
    ],
)
def test_the_settings_of_one_branch_leave_the_other_alone(stage, change, refitted):
    stage()
    before = FrameScores.read(stage.path())
    stage(change)
    assert stage.fits == [refitted] * 2
    other = {"sed": "te_vad", "te_vad": "sed"}[refitted]
    after = FrameScores.read(stage.path())
    assert np.array_equal(after.branches[other], before.branches[other])
    assert not np.array_equal(after.branches[refitted], before.branches[refitted]) or "median" in change


def test_another_checkpoint_regenerates_them(stage):
    stage("detect.methods=[sed]")
    config = small_config(*QUICK, "seed=4")
    other = Run(stage.run.folder.parent / "other")
    small_corpus(other, config)
    train(other, small_training_data(other, config), config, cpu(config))
    for name in ("best.pt", "best.json"):
        shutil.copy(other.best.with_name(name), stage.run.best.with_name(name))
    stage("detect.methods=[sed]")
    assert stage.fits == ["sed"] * 2


def test_other_features_regenerate_only_their_recording(stage):
    stage("detect.methods=[sed]")
    config = small_config()
    write_recording(stage.run, config, stage.corpus.test[1], bright(420, SHOTS + QUERY_EVENTS, 11), "other")
    stage("detect.methods=[sed]")
    assert stage.fits == ["sed"]


@pytest.mark.parametrize("damage", ["truncated", "noise", "without a dataset"])
def test_a_damaged_probability_file_is_regenerated(stage, damage):
    first = stage("detect.methods=[sed]")
    path, data = stage.path(), stage.bytes()
    if damage == "without a dataset":
        with h5py.File(path, "r+") as file:
            del file["shots_s"]
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"noise")
    assert stage("detect.methods=[sed]") == first
    assert stage.fits == ["sed"]


def test_a_stopped_stage_goes_on_where_it_was(stage, monkeypatch):
    real, calls = sed.Sed.fit, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(sed.Sed, "fit", dying)
        with pytest.raises(KeyboardInterrupt):
            stage("detect.methods=[sed]")
    stage("detect.methods=[sed]")
    assert stage.fits == ["sed"]


def test_the_order_of_the_recordings_changes_nothing(stage):
    stage()
    before = [stage.bytes(number) for number in range(2)]
    for number in range(2):
        stage.path(number).unlink()
    stage(corpus=replace(stage.corpus, test=stage.corpus.test[::-1]))
    for number in range(2):
        written = FrameScores.read(stage.path(number))
        stage.path(number).write_bytes(before[number])
        first = FrameScores.read(stage.path(number))
        assert first.levels == written.levels
        assert all(np.array_equal(first.branches[n], written.branches[n]) for n in first.branches)


def test_one_bad_recording_does_not_stop_the_others(stage):
    config = small_config()
    feature_path(stage.run.features(config), stage.corpus.test[0]).write_bytes(b"no features")
    detections, problems = stage("detect.threshold.mode=fixed", "detect.threshold.value=0")
    (problem,) = problems
    assert problem.path == stage.corpus.test[0].audio and "damaged file of features" in problem.message
    assert {d.audio_name for d in detections} == {"y.wav"}
    with pytest.raises(FiveshotError, match="damaged file of features"):
        stage(strict=True)


def with_fewer_events(stage, count):
    """The first recording with its first events alone, and features to match."""
    whole = stage.corpus.test[0]
    fewer = replace(whole, events=whole.events.where(slice(count)))
    write_recording(stage.run, small_config(), fewer, bright(420, SHOTS + QUERY_EVENTS, 10), "fewer")
    return fewer


def test_annotations_that_changed_ask_for_the_feature_stage(stage):
    stage("detect.methods=[sed]")
    whole = stage.corpus.test[0]
    changed = replace(whole, events=whole.events.where(slice(6)))
    _, problems = stage("detect.methods=[sed]", corpus=replace(stage.corpus, test=(changed,)))
    assert "annotations changed" in problems[0].message and "feature stage again" in problems[0].message


def test_too_few_shots_are_a_problem_of_that_recording(stage):
    bad = with_fewer_events(stage, 4)
    _, problems = stage(corpus=replace(stage.corpus, test=(bad, stage.corpus.test[1])))
    (problem,) = problems
    assert "4 POS events" in problem.message
    assert stage.fits == ["sed", "te_vad"]


def test_probabilities_that_are_no_numbers_are_not_written(stage, monkeypatch):
    monkeypatch.setattr(FittedBranch, "predict", lambda self: np.full(420, np.nan))
    _, problems = stage("detect.methods=[sed]")
    assert len(problems) == 2 and "method sed" in problems[0].message
    assert not stage.path().exists()


def test_without_recordings_to_detect_in_the_folder_is_named(stage):
    with pytest.raises(FiveshotError, match="Validation_Set"):
        stage(corpus=replace(stage.corpus, test=()))


def test_a_checkpoint_of_other_classes_is_refused(stage):
    config = small_config(*QUICK)
    trained_on = stage.corpus.train
    learner, _ = load_learner(stage.run, trained_on, config, cpu(config), strict=True)
    assert learner.network.sed.out_features == 3
    one_class = trained_on[1::2]
    with pytest.raises(FiveshotError, match="trained on 2 classes, not on the 1 of this corpus"):
        load_learner(stage.run, one_class, config, cpu(config), strict=True)


def branches_of(stage, *changes, corpus=None):
    """P(POS) of the first recording, fitted again."""
    stage.path().unlink(missing_ok=True)
    _, problems = stage("detect.methods=[sed]", *changes, corpus=corpus)
    assert not problems
    return FrameScores.read(stage.path()).branches["sed"]


def with_replay(stage):
    """The corpus without training recordings, after their windows were kept beside the checkpoint."""
    config = small_config(*QUICK)
    files, _, _ = labelled_files(stage.run, config, stage.corpus.train, strict=True)
    keep_replay(stage.run.best, files, config)
    shutil.rmtree(stage.run.features(config) / "train")
    return replace(stage.corpus, train=())


def test_windows_beside_the_checkpoint_give_the_scores_of_windows_from_training_features(stage, caplog):
    caplog.set_level(logging.INFO, "fiveshot")
    drawn = branches_of(stage)
    assert "training windows are drawn again from the training features" in caplog.text
    caplog.clear()
    read = branches_of(stage, corpus=with_replay(stage))
    assert "drawn again" not in caplog.text
    assert np.array_equal(drawn, read)


def test_windows_of_other_settings_are_drawn_again_where_there_are_training_features(stage, caplog):
    caplog.set_level(logging.INFO, "fiveshot")
    drawn = branches_of(stage, "finetune.sed.replay.windows_per_class=3")
    bare = with_replay(stage)
    with pytest.raises(FiveshotError, match=r"replay\.h5: drawn with other settings .*windows_per_class"):
        stage("detect.methods=[sed]", "finetune.sed.replay.windows_per_class=3", corpus=bare)
    training_recordings(stage.run, small_config(*QUICK))
    again = branches_of(stage, "finetune.sed.replay.windows_per_class=3")
    assert np.array_equal(drawn, again)


def test_damaged_windows_are_drawn_again_or_named(stage):
    drawn, bare = branches_of(stage), with_replay(stage)
    path = replay_path(stage.run.best)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FiveshotError, match=r"replay\.h5"):
        stage("detect.methods=[sed]", corpus=bare)
    training_recordings(stage.run, small_config(*QUICK))
    assert np.array_equal(branches_of(stage), drawn)


def test_windows_from_other_recordings_than_the_checkpoint_are_not_replayed(stage):
    bare, path = with_replay(stage), replay_path(stage.run.best)
    stored = Replay.read(path)
    replace(stored, recordings=stored.recordings[1:]).write(path)
    with pytest.raises(FiveshotError, match=r"drawn from other recordings than best\.pt was trained on"):
        stage("detect.methods=[sed]", corpus=bare)


def test_windows_kept_by_a_version_with_other_keys_are_read(stage):
    with_replay(stage)
    path = replay_path(stage.run.best)
    stored = Replay.read(path)
    flat = dict(leaves(stored.settings.values))
    old = {
        **nested({name: value for name, value in flat.items() if name.split(".")[0] in ("seed", "features")}),
        "labels": {"widen_s": 0.0, "cut_events": "ignore"},
        "windows": {"frames": 64, "hop_frames": 16, "background_share": 0.0},
        "window_classes": "rotation",
        "training_windows_per_class": 4,
        "training_frames": 431,
    }
    replace(stored, settings=Provenance(old)).write(path)
    assert has_replay(stage.run.best, small_config(*QUICK))
    assert not Replay.read(path).settings.differences(stored.settings)


@pytest.mark.parametrize("change", ["replay.windows_per_class=0", "replay.weight=0"])
def test_the_training_windows_can_be_left_out(stage, change):
    _, problems = stage("detect.methods=[sed]", f"finetune.sed.{change}")
    assert not problems and stage.fits == ["sed"] * 2


def test_the_events_of_the_query_are_not_looked_at(stage):
    stage("detect.methods=[sed]")
    first = FrameScores.read(stage.path())
    stage.path().unlink()
    bare = with_fewer_events(stage, 5)
    stage("detect.methods=[sed]", corpus=replace(stage.corpus, test=(bare,)))
    assert stage.fits == ["sed"]
    assert np.array_equal(FrameScores.read(stage.path()).branches["sed"], first.branches["sed"])
