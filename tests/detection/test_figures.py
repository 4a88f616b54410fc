"""Pictures of a run: a recording that cannot be drawn is named, and the others are drawn."""

import numpy as np
import pytest
from drawn import query_lines_s, verdict_bars
from small import RATE, bright, events, make_recording, recordings_under_test, small_config, write_recording

from fiveshot.core.errors import FiveshotError
from fiveshot.core.provenance import Provenance
from fiveshot.detection.figures import draw_detections
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.metric import match_counts
from fiveshot.detection.references import corpus_references
from fiveshot.run.folder import Run


def write_curves(run, recording):
    """Probabilities of two branches that rise over the recording."""
    shots_s = recording.events.as_array()[:5]
    curves = {name: np.linspace(0, 1, 420) for name in ("sed", "te_vad")}
    scores = FrameScores(
        recording.audio_name, 22050 / 256, 0.0, shots_s, curves, dict.fromkeys(curves, 0.5), np.ones(420)
    )
    scores.write(scores_path(run, recording), {key: Provenance({"seed": 1}) for key in curves})


def drawn(folder, strict=False):
    """Pictures of two recordings, the probabilities of the first being no file of probabilities."""
    config, run = small_config(), Run(folder)
    recordings = recordings_under_test(run, config)
    for recording in recordings:
        write_curves(run, recording)
    scores_path(run, recordings[0]).write_bytes(b"no HDF5")
    return draw_detections(run, config, recordings, {}, strict)


def test_one_damaged_file_does_not_keep_the_others_from_being_drawn(tmp_path):
    targets, problems = drawn(tmp_path)
    assert [target.name for target in targets] == ["y_0s.png"] and targets[0].is_file()
    assert [str(problem.path) for problem in problems] == ["x.wav"] and "damaged" in problems[0].message


def test_strict_stops_at_it(tmp_path):
    with pytest.raises(FiveshotError, match="damaged"):
        drawn(tmp_path, strict=True)


def with_overlapping_shots(run, config):
    """One recording whose third shot outlasts its fifth, and with it the first event of the query."""
    spans = [(20, 40), (60, 80), (100, 260), (140, 160), (180, 200), (225, 245), (300, 320)]
    recording = make_recording("test", "x", events(spans), 420)
    write_recording(run, config, recording, bright(420, spans, 10), "test x")
    write_curves(run, recording)
    return recording


def test_a_picture_says_of_overlapping_shots_what_the_report_says(tmp_path, figures):
    config, run = small_config(), Run(tmp_path)
    recording = with_overlapping_shots(run, config)
    detected = np.array([(225, 245), (300, 320), (350, 370)]) / RATE
    draw_detections(run, config, (recording,), {recording.key: detected})
    shown = verdict_bars(figures[0])
    np.testing.assert_allclose(shown["true positive"], detected[:2])
    np.testing.assert_allclose(shown["false positive"], detected[2:])
    counts = match_counts(corpus_references([recording])[0], detected)
    assert (counts.tp, counts.fp) == (len(shown["true positive"]), len(shown["false positive"]))


def test_the_query_line_stands_where_detection_may_begin(tmp_path, figures):
    config, run = small_config(), Run(tmp_path)
    recording = with_overlapping_shots(run, config)
    draw_detections(run, config, (recording,), {})
    query_start_s = FrameScores.read(scores_path(run, recording)).query_start_s
    assert query_lines_s(figures[0]) == [query_start_s] * 3
    assert query_start_s == recording.events.offset_s[4] < recording.events.offset_s[2]
