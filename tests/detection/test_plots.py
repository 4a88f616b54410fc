"""What pictures show, read from the drawn artists; they are whole PNGs, and long recordings are cut."""

import warnings
from dataclasses import replace

import librosa
import matplotlib as mpl
import numpy as np
import pytest
from drawn import bars, legend, query_lines_s, verdict_bars
from matplotlib.image import imread

from fiveshot.core.errors import FiveshotError
from fiveshot.detection.plots import EventRows, mel_position, pick_excerpts, plot_detection, plot_training

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


EVENTS = EventRows(
    shots=SHOTS,
    positive=np.concatenate([SHOTS, [[11.0, 11.5]]]),
    unknown=np.array([[12.0, 13.0]]),
    detections=np.array([[11.1, 11.5], [12.1, 12.9], [14.0, 14.2]]),
    verdicts=["true positive", "matches UNK", "false positive"],
    query_start_s=9.5,
)
NO_EVENTS = EventRows(NOTHING, NOTHING, NOTHING, NOTHING)


def draw_excerpt(target, **changes):
    """A picture of 10 s from 5 s on, all of it replaceable."""
    n_frames = int(10 * FRAME_RATE)
    settings = {
        "title": "HB/recording.wav",
        "features": np.random.default_rng(0).normal(size=(n_frames, MELS)),
        "frame_rate": FRAME_RATE,
        "first_s": 5.0,
        "probabilities": {"sed": np.linspace(0, 1, n_frames), "te_vad": np.linspace(1, 0, n_frames)},
        "threshold": {"sed": 0.5, "te_vad": 0.6},
        "events": EVENTS,
        "f_max": 11025.0,
    }
    plot_detection(target, **(settings | changes))


def shown_events(figure):
    """Row name -> onsets and offsets in s of its bars, of whatever colour."""
    return {
        name: np.array([span for spans in colours.values() for span in spans]).reshape(-1, 2)
        for name, colours in bars(figure).items()
    }


def test_training_of_two_branches_is_one_picture_in_a_folder_made_for_it(tmp_path):
    target = tmp_path / "pictures" / "training.png"
    plot_training(metrics(tmp_path, TWO_BRANCHES), target)
    assert size_of(target) == (1100, 440)
    assert [path.name for path in target.parent.iterdir()] == ["training.png"]


def test_training_curves_are_those_of_the_table_and_mark_the_best_epoch(tmp_path, figures):
    plot_training(metrics(tmp_path, TWO_BRANCHES), tmp_path / "training.png")
    loss, accuracy = figures[0].axes
    curves = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert curves["SED"] == [2.0, 1.5, 1.2] and curves["TE-VAD"] == [0.7, 0.5, 0.4]
    assert legend(loss) == ["SED", "TE-VAD", "best epoch: 2"]
    percent = {line.get_label(): list(line.get_ydata()) for line in accuracy.lines}
    np.testing.assert_allclose(percent["SED"], [50, 60, 70])


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


def test_a_excerpt_with_everything_is_one_picture(tmp_path, figures):
    draw_excerpt(tmp_path / "excerpt.png")
    assert size_of(tmp_path / "excerpt.png") == (1100, 704)
    (figure,) = figures
    shown = shown_events(figure)
    np.testing.assert_allclose(shown["shots"], EVENTS.shots)
    np.testing.assert_allclose(shown["POS"], EVENTS.positive)
    np.testing.assert_allclose(shown["UNK"], EVENTS.unknown)
    for verdict, span in zip(EVENTS.verdicts, EVENTS.detections, strict=True):
        np.testing.assert_allclose(verdict_bars(figure)[verdict], [span])
    assert query_lines_s(figure) == [9.5] * 3
    assert legend(figure.axes[2]) == ["SED", "threshold 0.50", "TE-VAD", "threshold 0.60"]


def test_curves_stand_at_the_middle_of_their_frames(tmp_path, figures):
    values = np.random.default_rng(1).random(50)
    draw_excerpt(tmp_path / "p.png", probabilities={"sed": values}, threshold=None)
    (curve,) = [line for line in figures[0].axes[2].lines if line.get_label() == "SED"]
    np.testing.assert_allclose(curve.get_xdata(), 5.0 + (np.arange(50) + 0.5) / FRAME_RATE)
    np.testing.assert_array_equal(curve.get_ydata(), values)


def test_without_detections_their_row_and_the_legend_are_empty(tmp_path, figures):
    draw_excerpt(tmp_path / "p.png", events=replace(EVENTS, detections=NOTHING, verdicts=[]))
    shown = shown_events(figures[0])
    assert len(shown["detected"]) == 0 and legend(figures[0].axes[1]) == []
    assert len(shown["POS"]) == len(EVENTS.positive)


def test_without_references_detections_have_no_verdict(tmp_path, figures):
    events = replace(EVENTS, positive=NOTHING, unknown=NOTHING, verdicts=None)
    draw_excerpt(tmp_path / "p.png", events=events)
    np.testing.assert_allclose(verdict_bars(figures[0])["detection"], EVENTS.detections)
    assert len(shown_events(figures[0])["POS"]) == len(shown_events(figures[0])["UNK"]) == 0


def test_without_any_event_only_the_features_are_drawn(tmp_path, figures):
    draw_excerpt(tmp_path / "p.png", events=NO_EVENTS, probabilities={}, threshold=None)
    assert all(len(spans) == 0 for spans in shown_events(figures[0]).values())
    assert query_lines_s(figures[0]) == [] and not figures[0].axes[2].lines
    assert figures[0].axes[0].images[0].get_array().shape[0] == MELS


def test_a_query_that_begins_elsewhere_has_no_line(tmp_path, figures):
    draw_excerpt(tmp_path / "p.png", events=replace(EVENTS, query_start_s=4.9))
    assert query_lines_s(figures[0]) == []


@pytest.mark.parametrize(
    ("threshold", "expected"), [(None, []), (0.5, [0.5]), ({"sed": 0.3}, [0.3]), ({"other": 0.3}, [])]
)
def test_thresholds_are_those_of_the_curves_drawn(tmp_path, figures, threshold, expected):
    draw_excerpt(tmp_path / "p.png", threshold=threshold, probabilities={"sed": np.ones(100)})
    lines = [line for line in figures[0].axes[2].lines if str(line.get_label()).startswith("threshold")]
    assert [line.get_ydata()[0] for line in lines] == expected


def test_flat_features_and_a_curve_of_another_name_are_drawn(tmp_path, figures):
    draw_excerpt(
        tmp_path / "p.png",
        features=np.zeros((100, MELS)),
        f_max=None,
        probabilities={"my own": np.ones(100)},
        threshold=None,
    )
    features, _, curves = figures[0].axes
    assert features.get_ylabel() == "mel band" and legend(curves) == ["my own"]
    assert np.all(np.asarray(features.images[0].get_array()) == 0)


@pytest.mark.parametrize("title", ["a, $\\frac$", "$x$ $y", "50% {a} \\alpha #1", "鳥 <b>", "x" * 250])
def test_a_title_is_drawn_as_it_is_written_without_a_warning(tmp_path, figures, title):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_excerpt(tmp_path / "p.png", title=title)
    assert figures[0].get_suptitle() == title and not figures[0]._suptitle.get_parse_math()
    assert size_of(tmp_path / "p.png") == (1100, 704)


def test_a_dollar_sign_is_a_dollar_sign(tmp_path):
    for name, title in (("formula", "$a$"), ("plain", "a")):
        draw_excerpt(tmp_path / f"{name}.png", title=title)
    assert (imread(tmp_path / "formula.png") != imread(tmp_path / "plain.png")).any()


def test_two_drawings_are_bitwise_identical_and_leave_the_settings_alone(tmp_path):
    before = dict(mpl.rcParams)
    for name in ("a.png", "b.png"):
        draw_excerpt(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(mpl.rcParams) == before


def test_the_centre_of_each_mel_band_lies_in_its_middle():
    # librosa's frequencies hold the outer edges of the first and the last band too.
    centres = librosa.mel_frequencies(n_mels=MELS + 2, fmin=50.0, fmax=11025.0)[1:-1]
    places = [mel_position(hz, MELS, (50.0, 11025.0)) for hz in centres]
    np.testing.assert_allclose(places, np.arange(MELS) + 0.5, atol=1e-9)


def test_a_short_recording_is_one_excerpt():
    assert pick_excerpts(860, FRAME_RATE, 4.0, SHOTS) == [(0.0, 860 / FRAME_RATE)]


def test_a_long_recording_is_cut_to_the_start_of_the_query_and_its_fullest_part():
    sparse = np.array([[start, start + 1] for start in (1000.0, 3000.0)])
    dense = np.array([[start, start + 1] for start in range(2000, 2030, 3)], dtype=float)
    excerpts = pick_excerpts(int(3600 * FRAME_RATE), FRAME_RATE, 60.0, np.concatenate([sparse, dense]))
    (first, first_end), (second, second_end) = excerpts
    assert first < 60 < first_end
    assert second <= dense[0, 0] and dense[-1, 1] <= second_end
    assert first_end - first == second_end - second == 30.0


def test_without_events_in_the_query_only_its_start_is_shown():
    assert pick_excerpts(int(600 * FRAME_RATE), FRAME_RATE, 9.5, SHOTS) == [(0.0, 30.0)]


@pytest.mark.parametrize("duration_s", [31, 45, 59, 61, 1000])
@pytest.mark.parametrize("query_s", [0.0, 20.0, 1e4])
def test_every_excerpt_lies_within_the_recording(duration_s, query_s):
    n_frames = int(duration_s * FRAME_RATE)
    events = np.random.default_rng(0).uniform(0, duration_s, size=(50, 1)) + np.array([0, 0.5])
    for first, end in pick_excerpts(n_frames, FRAME_RATE, query_s, events):
        assert 0 <= first < end <= n_frames / FRAME_RATE + 1e-9
        assert end - first == pytest.approx(30)
