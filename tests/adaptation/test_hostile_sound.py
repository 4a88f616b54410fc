"""Sounds that divide by zero if anything does: silence, clipping, no gaps, no query to speak of."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from small import Frames, cpu, small_config

from fiveshot.adaptation.episode import Episode, with_mined_gaps
from fiveshot.adaptation.finetune import finetune_all
from fiveshot.adaptation.frozen import pass_frozen
from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.method import load_method
from fiveshot.adaptation.similarity import shot_similarity
from fiveshot.adaptation.support import check_shots, find_support
from fiveshot.core.files import write_json
from fiveshot.core.methods import METHODS
from fiveshot.core.normalisation import Normalisation
from fiveshot.data.annotations import EventTable
from fiveshot.data.corpus import checked_corpus
from fiveshot.data.extraction import extract
from fiveshot.data.features import feature_blocks
from fiveshot.detection.figures import draw_detections
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.detection.metric import evaluate
from fiveshot.detection.postprocess import detect
from fiveshot.detection.predictions import Detection
from fiveshot.detection.references import corpus_references
from fiveshot.network.checkpoint import build_network
from fiveshot.run.folder import Run
from fiveshot.training.dataset import training_data
from fiveshot.training.loop import train

RATE = 22050
MIDDLE = np.arange(5) * 0.5 + 0.2  # onsets of shots of 0.2 s, the query beginning at 2.4 s
SHOTS = np.stack([MIDDLE, MIDDLE + 0.2], axis=1)
EVENTS = SHOTS + 3.0


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * RATE))


def calls(seconds: float, spans: np.ndarray, level: float = 0.3) -> np.ndarray:
    """A tone in each span, over faint noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    inside = ((t[:, None] >= spans[:, 0]) & (t[:, None] < spans[:, 1])).any(axis=1)
    return noise(seconds, 0.01) + level * np.sin(2 * np.pi * 3000 * t) * inside


def after(first: np.ndarray, second: np.ndarray, seconds: float) -> np.ndarray:
    """The first sound up to a time, then the second."""
    return np.where(np.arange(len(first)) < seconds * RATE, first, second)


def spike(seconds: float) -> np.ndarray:
    return np.eye(1, round(seconds * RATE), round(0.3 * RATE))[0]


pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # such as numpy's "invalid value"
TOUCHING = np.stack([np.arange(5) * 0.2, np.arange(1, 6) * 0.2], axis=1)
OVERLAPPING = np.array([[0.0, 2.4], [0.1, 0.4], [0.1, 0.5], [0.2, 1.9], [0.3, 2.0]])
LONG = np.array([[0.1, 3.5], [3.6, 3.7], [3.8, 3.9], [4.0, 4.1], [4.2, 4.3]])
WITH_EVENTS = np.concatenate([SHOTS, EVENTS])
T6, TONE = np.arange(6 * RATE) / RATE, np.sin(2 * np.pi * 1000 * np.arange(6 * RATE) / RATE)
# Name: samples, events in seconds.
SOUNDS = {
    "silence": (np.zeros(6 * RATE), WITH_EVENTS),
    "clipped": (np.sign(TONE), WITH_EVENTS),
    "offset": (0.9 + 0.05 * calls(6, WITH_EVENTS), WITH_EVENTS),
    "constant": (np.full(6 * RATE, -1.0), WITH_EVENTS),
    "one bit": (np.sign(noise(6)) / 2**15, WITH_EVENTS),
    "one sample": (spike(6), WITH_EVENTS),
    "silent support": (after(np.zeros(6 * RATE), calls(6, EVENTS), 2.45), WITH_EVENTS),
    "silent query": (after(calls(6, SHOTS), np.zeros(6 * RATE), 2.45), WITH_EVENTS),
    "from silence to full scale": (after(np.zeros(6 * RATE), np.sign(TONE), 0.2), WITH_EVENTS),
    "shots like the background": (0.5 * TONE, WITH_EVENTS),
    "shots of a sample": (calls(6, SHOTS), np.stack([MIDDLE, MIDDLE + 1 / RATE], axis=1)),
    "ends with the fifth shot": (calls(2.41, SHOTS), SHOTS),
    "short": (calls(0.06, np.zeros((1, 2))), np.stack([np.arange(5) * 0.01, np.arange(1, 6) * 0.01], axis=1)),
    "touching from the start": (calls(6, TOUCHING), TOUCHING),
    "touching to the end": (calls(1.01, TOUCHING), TOUCHING),
    "overlapping": (calls(6, OVERLAPPING), OVERLAPPING),
    "equal shots": (calls(6, SHOTS[:1]), np.repeat(SHOTS[:1], 5, axis=0)),
    "longer than a window": (calls(6, LONG), LONG),
    "louder than full scale": (1e12 * calls(6, WITH_EVENTS), WITH_EVENTS),
    "nearly nothing": (1e-40 * noise(6), WITH_EVENTS),
}

CONFIG = small_config(
    "features.kind=both",
    "train.epochs=1",
    "train.segment_windows=1",
    "finetune.sed.steps=3",
    "finetune.sed.pseudo_labels.from_step=1",
    "finetune.negatives.training_weight=0.1",
    "finetune.te_vad.steps=2",
    "finetune.negatives.query_weight=0.1",
    "finetune.support.kind=mixed",
    "report.figures_per_subset=2",
    "report.resamples=20",
    "detect.min_similarity=0.5",
    "compute.workers=1",
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(CONFIG, 2).eval()


def table(spans: np.ndarray) -> EventTable:
    count = len(spans)
    names, values = np.full(count, "Q", dtype=object), np.full(count, "POS", dtype=object)
    return EventTable(spans[:, 0], spans[:, 1], names, values, "a.wav")


def features_of(name: str) -> np.ndarray:
    """Features of a sound as they are stored: (channels, frames, mels)."""
    blocks = list(feature_blocks([SOUNDS[name][0].astype(np.float32)], CONFIG.features))
    values = [np.concatenate([block[kind] for block in blocks]) for kind in CONFIG.features.channels]
    return np.stack(values).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("name", SOUNDS)
def test_features_are_finite_in_half_precision(name):
    assert np.isfinite(features_of(name)).all()


# The second: the statistics of training recordings that were silent throughout.
@pytest.mark.slow
@pytest.mark.parametrize("deviation", [1.0, 1e-6])
@pytest.mark.parametrize("name", SOUNDS)
def test_both_branches_say_finite_things_of_any_sound(network, name, deviation):
    values, spans = features_of(name), np.minimum(SOUNDS[name][1], len(SOUNDS[name][0]) / RATE)
    file, shots = Frames(values), table(spans[:5])
    source = NormalisedFeatures(file, Normalisation(values.mean((1, 2)), np.full(2, deviation, np.float32)))
    support = find_support(
        shots, table(spans[:0]), file.frame_rate, file.n_frames, CONFIG.labels.event_padding_s
    )
    check_shots(support, name)
    replay = pass_frozen(
        network, np.zeros((2, 2, 64, 16), np.float32), np.ones((2, 64), np.int64), cpu(CONFIG)
    )
    episode = with_mined_gaps(Episode(source, support, CONFIG, cpu(CONFIG), network, lambda: replay, 0))
    fitted = {name: load_method(name).fit(episode, lambda _: None) for name in METHODS}
    curves = {name: one.predict() for name, one in fitted.items()}
    levels = {name: one.confidence_level for name, one in fitted.items()}
    alike = shot_similarity(source, support)
    for method, curve in curves.items():
        assert curve.shape == alike.shape == (file.n_frames,)
        assert ((curve >= 0) & (curve <= 1)).all() and 0 <= levels[method] <= 1
    assert np.isfinite(alike).all()
    found = FrameScores("a.wav", file.frame_rate, 0.0, spans[:5], curves, levels, alike)
    for decoder in ("threshold", "duration"):
        finite(detect(found, CONFIG.detect.model_copy(update={"decoder": decoder})))


def finite(events: list[Detection]) -> None:
    for event in events:
        assert 0 <= event.onset_s < event.offset_s < np.inf and 0 <= event.confidence <= 1


def write(audio, samples: np.ndarray, spans: np.ndarray, column: str) -> None:
    audio.parent.mkdir(parents=True, exist_ok=True)
    subtype = "FLOAT" if not 1e-30 < np.abs(samples).max() <= 1 else "PCM_16"
    soundfile.write(str(audio), samples, RATE, subtype=subtype)
    rows = [f"{audio.name},{onset!r},{offset!r},POS" for onset, offset in spans.tolist()]
    audio.with_suffix(".csv").write_text("\n".join([f"Audiofilename,Starttime,Endtime,{column}", *rows]))


@pytest.mark.slow
def test_a_corpus_of_such_sounds_goes_through_all_stages(tmp_path):
    for name, (samples, spans) in SOUNDS.items():
        if name == "equal shots":  # rows that repeat one event are one shot, and the recording is refused
            continue
        write(tmp_path / "Validation_Set" / "A" / f"{name}.wav", samples, spans, "Q")
    for name in ("silence", "clipped"):
        write(tmp_path / "Training_Set" / name / "x.wav", *SOUNDS[name], "CALL")
    config = CONFIG.model_copy(update={"paths": CONFIG.paths.model_copy(update={"data": str(tmp_path)})})
    run, backend = Run(tmp_path / "run"), cpu(config)
    corpus = checked_corpus(config, strict=False)  # shots that overlap are a warning
    assert corpus.problems == ()
    assert extract(corpus, run.features(config), config, strict=True) == []
    data, _ = training_data(run, config, corpus, strict=True)
    state = train(run, data, config, backend)
    assert all(np.isfinite(value) for row in state.rows for value in row.values())
    detections, problems = finetune_all(run, corpus, config, backend, strict=True)
    finite(detections)
    assert problems == []
    for recording in corpus.test:
        found = FrameScores.read(scores_path(run, recording))
        assert all(np.isfinite(row).all() for row in (*found.branches.values(), found.similarity))
    predictions = {
        name: np.array([(e.onset_s, e.offset_s) for e in detections if e.audio_name == name])
        for name in {e.audio_name for e in detections}
    }
    report = evaluate(corpus_references(corpus.test), predictions, config.report.resamples)
    write_json(run.report, report)  # which takes no NaN
    targets, problems = draw_detections(run, config, corpus.test, predictions)
    assert len(targets) == 2 and problems == []
