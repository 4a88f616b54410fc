"""Pictures of a run: a recording that cannot be drawn is named, and the others are drawn."""

import numpy as np
import pytest
from small import recordings_under_test, small_config

from fiveshot.core.errors import FiveshotError
from fiveshot.detection.figures import draw_detections
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.run.folder import Run


def drawn(folder, strict=False):
    """Pictures of two recordings, the probabilities of the first being no file of probabilities."""
    config, run = small_config(), Run(folder)
    recordings = recordings_under_test(run, config)
    for recording in recordings:
        shots_s = np.stack([recording.events.onset_s, recording.events.offset_s], axis=1)[:5]
        curves = {name: np.linspace(0, 1, 420) for name in ("sed", "te_vad")}
        found = FrameScores(
            recording.audio_name, 22050 / 256, 0.0, shots_s, curves, dict.fromkeys(curves, 0.5), np.ones(420)
        )
        found.write(scores_path(run, recording), {key: {"seed": 1} for key in curves})
    scores_path(run, recordings[0]).write_bytes(b"no HDF5")
    return draw_detections(run, config, recordings, {}, strict)


def test_one_damaged_file_does_not_keep_the_others_from_being_drawn(tmp_path):
    targets, problems = drawn(tmp_path)
    assert [target.name for target in targets] == ["y_0s.png"] and targets[0].is_file()
    assert [str(problem.path) for problem in problems] == ["x.wav"] and "damaged" in problems[0].message


def test_strict_stops_at_it(tmp_path):
    with pytest.raises(FiveshotError, match="damaged"):
        drawn(tmp_path, strict=True)
