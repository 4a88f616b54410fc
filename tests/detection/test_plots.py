"""Pictures are whole PNGs of the promised size, with or without events, and long recordings are cut."""

import warnings

import librosa
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from fiveshot.core.errors import FiveshotError
from fiveshot.detection.plots import judge, mel_position, pick_stretches, plot_detection, plot_training

FRAME_RATE = 22050 / 256
MELS = 128
NOTHING = np.empty((0, 2))
SHOTS = np.array([[start, start + 0.5] for start in (1.0, 3.0, 5.0, 7.0, 9.0)])
TWO_BRANCHES = """epoch,learning_rate,sed_loss,te_vad_loss,sed_accuracy,te_vad_accuracy,choice,seconds
1,1e-4,2.0,0.7,0.5,0.6,0.6,3.0
2,1e-4,1.5,0.5,0.6,0.8,0.8,3.0
3,1e-4,1.2,0.4,0.7,0.7,0.7,3.0
"""
ONE_BRANCH = """epoch,learning_rate,sed_loss,te_vad_loss,sed_accuracy,choice,seconds
1,1e-4,2.0,0.0,0.5,0.5,3.0
2,1e-4,1.5,0.0,0.6,0.6,3.0
"""


def size_of(path):
    """Width and height in pixels; fails when the file is no whole PNG."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    height, width = imread(path, format="png").shape[:2]
    return width, height


def metrics(folder, text):
    path = folder / "metrics.csv"
    path.write_text(text)
    return path


def draw_stretch(target, **changes):
    """A picture of 10 s from 5 s on, all of it replaceable."""
    n_frames = int(10 * FRAME_RATE)
    given = {
        "title": "HB/recording.wav",
        "features": np.random.default_rng(0).normal(size=(n_frames, MELS)),
        "frame_rate": FRAME_RATE,
        "first_s": 5.0,
        "probabilities": {"sed": np.linspace(0, 1, n_frames), "te_vad": np.linspace(1, 0, n_frames)},
        "threshold": {"sed": 0.5, "te_vad": 0.6},
        "shots": SHOTS,
        "truth": np.concatenate([SHOTS, [[11.0, 11.5]]]),
        "unknown": np.array([[12.0, 13.0]]),
        "detections": np.array([[11.1, 11.5], [12.1, 12.9], [14.0, 14.2]]),
        "f_max": 11025.0,
    }
    plot_detection(target, **(given | changes))


def test_training_of_two_branches_is_one_picture_in_a_folder_made_for_it(tmp_path):
    target = tmp_path / "pictures" / "training.png"
    plot_training(metrics(tmp_path, TWO_BRANCHES), target)
    assert size_of(target) == (1100, 440)
    assert [path.name for path in target.parent.iterdir()] == ["training.png"]


def test_of_a_single_branch_run_the_absent_branch_changes_nothing(tmp_path):
    plot_training(metrics(tmp_path, ONE_BRANCH), tmp_path / "zero.png")
    without = ONE_BRANCH.replace(",te_vad_loss", "").replace(",0.0,", ",")
    plot_training(metrics(tmp_path, without), tmp_path / "absent.png")
    plot_training(metrics(tmp_path, TWO_BRANCHES), tmp_path / "both.png")
    assert (tmp_path / "zero.png").read_bytes() == (tmp_path / "absent.png").read_bytes()
    assert (tmp_path / "zero.png").read_bytes() != (tmp_path / "both.png").read_bytes()


def test_a_single_epoch_can_be_drawn(tmp_path):
    plot_training(metrics(tmp_path, "\n".join(TWO_BRANCHES.split("\n")[:2])), tmp_path / "training.png")
    assert size_of(tmp_path / "training.png") == (1100, 440)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no epochs"),
        ("epoch,sed_loss,choice\n1,2,3\n", "'sed_accuracy'"),
        (TWO_BRANCHES.replace("1.5", "much"), "not a number"),
    ],
)
def test_metrics_that_cannot_be_drawn_are_an_error_that_names_the_file(tmp_path, text, words):
    path = metrics(tmp_path, text)
    with pytest.raises(FiveshotError, match=words) as caught:
        plot_training(path, tmp_path / "training.png")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "training.png").exists()


def test_a_missing_metrics_file_is_an_error(tmp_path):
    with pytest.raises(FiveshotError, match=r"metrics\.csv"):
        plot_training(tmp_path / "metrics.csv", tmp_path / "training.png")


def test_a_stretch_with_everything_is_one_picture(tmp_path):
    draw_stretch(tmp_path / "stretch.png")
    assert size_of(tmp_path / "stretch.png") == (1100, 704)


@pytest.mark.parametrize(
    "changes",
    [
        {"detections": NOTHING},
        {"truth": NOTHING, "unknown": NOTHING},
        {"shots": NOTHING, "truth": NOTHING, "unknown": NOTHING, "detections": NOTHING, "probabilities": {}},
        {"threshold": None},
        {"threshold": 0.5, "probabilities": {"my own": np.ones(100)}},
        {"features": np.zeros((100, MELS)), "f_max": None},
    ],
    ids=["no detections", "no truth", "nothing at all", "no threshold", "one threshold", "flat features"],
)
def test_what_is_absent_is_left_out(tmp_path, changes):
    draw_stretch(tmp_path / "stretch.png", **changes)
    assert size_of(tmp_path / "stretch.png") == (1100, 704)


@pytest.mark.parametrize("title", ["a, $\\frac$", "$x$ $y", "50% {a} \\alpha #1", "鳥 <b>", "x" * 250])
def test_a_title_is_drawn_as_it_is_written_without_a_warning(tmp_path, title):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_stretch(tmp_path / "p.png", title=title)
    assert size_of(tmp_path / "p.png") == (1100, 704)


def test_a_dollar_sign_is_a_dollar_sign(tmp_path):
    for name, title in (("formula", "$a$"), ("plain", "a")):
        draw_stretch(tmp_path / f"{name}.png", title=title)
    assert (imread(tmp_path / "formula.png") != imread(tmp_path / "plain.png")).any()


def test_two_drawings_are_bitwise_identical_and_leave_the_settings_alone(tmp_path):
    before = dict(mpl.rcParams)
    for name in ("a.png", "b.png"):
        draw_stretch(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(mpl.rcParams) == before


def test_detections_are_judged_as_the_metric_would():
    truth = np.concatenate([SHOTS, [[11.0, 11.5]]])
    unknown = np.array([[12.0, 13.0]])
    detections = np.array([[11.0, 11.4], [11.1, 11.5], [12.1, 12.9], [14.0, 14.2], [9.0, 9.5]])
    verdicts = judge(detections, truth, unknown, query_s=9.5)
    # One of two detections of the same event is false, and a shot cannot be detected.
    assert sorted(verdicts[:2]) == ["false positive", "true positive"]
    assert verdicts[2:] == ["matches UNK", "false positive", "false positive"]


def test_without_references_in_the_query_detections_are_not_judged():
    assert judge(np.array([[11.0, 11.5]]), SHOTS, NOTHING, query_s=9.5) == ["detection"]


def test_the_centre_of_each_mel_band_lies_in_its_middle():
    # librosa's frequencies hold the outer edges of the first and the last band too.
    centres = librosa.mel_frequencies(n_mels=MELS + 2, fmin=50.0, fmax=11025.0)[1:-1]
    places = [mel_position(hz, MELS, (50.0, 11025.0)) for hz in centres]
    np.testing.assert_allclose(places, np.arange(MELS) + 0.5, atol=1e-9)


def test_a_short_recording_is_one_stretch():
    assert pick_stretches(860, FRAME_RATE, 4.0, SHOTS) == [(0.0, 860 / FRAME_RATE)]


def test_a_long_recording_is_cut_to_the_start_of_the_query_and_its_fullest_part():
    sparse = np.array([[start, start + 1] for start in (1000.0, 3000.0)])
    dense = np.array([[start, start + 1] for start in range(2000, 2030, 3)], dtype=float)
    stretches = pick_stretches(int(3600 * FRAME_RATE), FRAME_RATE, 60.0, np.concatenate([sparse, dense]))
    (first, first_end), (second, second_end) = stretches
    assert first < 60 < first_end
    assert second <= dense[0, 0] and dense[-1, 1] <= second_end
    assert first_end - first == second_end - second == 30.0


def test_without_events_in_the_query_only_its_start_is_shown():
    assert pick_stretches(int(600 * FRAME_RATE), FRAME_RATE, 9.5, SHOTS) == [(0.0, 30.0)]


@pytest.mark.parametrize("duration_s", [31, 45, 59, 61, 1000])
@pytest.mark.parametrize("query_s", [0.0, 20.0, 1e4])
def test_every_stretch_lies_within_the_recording(duration_s, query_s):
    n_frames = int(duration_s * FRAME_RATE)
    events = np.random.default_rng(0).uniform(0, duration_s, size=(50, 1)) + np.array([0, 0.5])
    for first, end in pick_stretches(n_frames, FRAME_RATE, query_s, events):
        assert 0 <= first < end <= n_frames / FRAME_RATE + 1e-9
        assert end - first == pytest.approx(30)
