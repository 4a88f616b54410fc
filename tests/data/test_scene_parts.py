"""The parts of a scene: backgrounds, recorder, annotator, levels; each against what it promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal

from fiveshot.data.synthetic.annotator import Annotator, audible_span_s, hearing_db, mark_series
from fiveshot.data.synthetic.backgrounds import LOOP, TEXTURES, background
from fiveshot.data.synthetic.levels import BackgroundLevels
from fiveshot.data.synthetic.recorder import PEAK, Recorder, RecorderChances, convolve, draw_recorder, record
from fiveshot.data.synthetic.scenes import Scene, SceneSettings, make_scene

RATE = 22050


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE), np.float32)


def tone(hz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def level_db(sound: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(sound)) + 1e-20))


# ---- backgrounds


@pytest.mark.parametrize("name", sorted(TEXTURES))
@pytest.mark.parametrize("rate", [8000, 22050])
def test_every_texture_is_finite_varied_and_without_a_seam(name, rate):
    loops = []
    for seed in range(3):
        loop, gain_db = TEXTURES[name](np.random.default_rng(seed), rate, 60)
        assert loop.dtype == np.float32 and loop.shape == (LOOP,) and gain_db.shape == (60,)
        assert np.isfinite(loop).all() and np.isfinite(gain_db).all() and loop.std() > 0
        step = np.abs(np.diff(loop))
        assert abs(loop[0] - loop[-1]) <= step.max() + 1e-6
        loops.append(loop)
    assert not np.array_equal(loops[0], loops[1])


def test_a_background_has_unit_level_and_never_a_silent_band():
    for seed in range(6):
        sound = background(np.random.default_rng(seed), 20 * RATE, RATE, (1, 4))
        assert sound.dtype == np.float32 and sound.size == 20 * RATE
        assert level_db(sound) == pytest.approx(0, abs=0.5)
        _, density = scipy.signal.welch(sound, RATE, nperseg=1024)
        assert density[2:-2].min() > 1e-12


# ---- levels


def test_a_call_at_the_amplitude_of_its_snr_has_that_snr_in_its_band():
    sound = 0.3 * noise(20)
    levels = BackgroundLevels(sound, RATE)
    # white noise of power 0.09 up to 11,025 Hz; a tenth of it in a band of 1,102.5 Hz
    amplitude = levels.amplitude((2000.0, 3102.5), 10.0)
    assert amplitude**2 == pytest.approx(0.009 * 10, rel=0.1)


def test_masking_sees_a_burst_in_its_own_band_and_time_only():
    sound = noise(20)
    burst = scipy.signal.sosfilt(
        scipy.signal.butter(4, (2000, 4000), "bandpass", fs=RATE, output="sos"), noise(1, 1)
    )
    sound[10 * RATE : 11 * RATE] += 20 * burst.astype(np.float32)
    levels = BackgroundLevels(sound, RATE)
    assert levels.masking_db((2200.0, 3800.0), 10.2, 10.8) > 8
    assert levels.masking_db((2200.0, 3800.0), 3.0, 4.0) < 0
    assert abs(levels.masking_db((6000.0, 9000.0), 10.2, 10.8)) < 3


# ---- recorder


@pytest.mark.parametrize(("samples", "taps"), [(1000, 7), (70000, 4096), (300000, 20000)])
def test_convolution_in_blocks_equals_convolution_at_once(samples, taps):
    rng = np.random.default_rng(0)
    sound, response = (rng.standard_normal(n).astype(np.float32) for n in (samples, taps))
    expected = scipy.signal.fftconvolve(sound.astype(np.float64), response.astype(np.float64))
    ours = convolve(sound, response)
    assert ours[: expected.size] == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())
    assert not ours[expected.size :].any() or np.abs(ours[expected.size :]).max() < 1e-3


def recorded(recorder: Recorder, sound: np.ndarray) -> np.ndarray:
    return record(recorder, sound, None, RATE, np.random.default_rng(0))


def test_a_recorder_without_faults_only_sets_the_level():
    sound = noise(3)
    assert np.corrcoef(recorded(Recorder(level_db=-20), sound), sound)[0, 1] > 0.9999
    assert level_db(recorded(Recorder(level_db=-20), sound)) == pytest.approx(-20, abs=0.3)


def test_band_limits_empty_the_bands_beyond_and_leave_times_as_they_are():
    sound = noise(3)
    sound[RATE] += 1000
    limited = recorded(Recorder(high_hz=4000.0, low_hz=300.0), sound)
    f, density = scipy.signal.welch(limited[2 * RATE :], RATE, nperseg=1024)
    inside = np.median(density[(f > 600) & (f < 3800)])
    assert density[f > 5500].max() < 1e-4 * inside
    assert density[(f > 0) & (f < 60)].max() < 0.1 * inside
    assert np.abs(limited).argmax() == pytest.approx(RATE, abs=2)


def test_automatic_gain_makes_loud_and_quiet_more_alike():
    sound = np.concatenate([noise(4), 0.05 * noise(6, 1)])
    before = level_db(sound[:RATE]) - level_db(sound[-RATE:])
    levelled = recorded(Recorder(agc=0.8), sound)
    assert level_db(levelled[RATE : 2 * RATE]) - level_db(levelled[-RATE:]) < before - 10


def test_clipping_flattens_the_loudest_samples():
    flat = recorded(Recorder(clipped=0.01), noise(3))
    assert np.mean(np.abs(flat) >= 0.999 * np.abs(flat).max()) == pytest.approx(0.01, rel=0.3)


def test_a_codec_keeps_what_is_loud_and_drops_what_is_faint_beside_it():
    # both tones share one group of the spectrum
    sound = tone(1500, 3) + 0.01 * tone(1900, 3)
    coded = recorded(Recorder(codec_db=25.0), sound)
    f, density = scipy.signal.welch(coded[RATE:], RATE, nperseg=4096, window="blackmanharris")
    at = [10 * np.log10(density[np.abs(f - hz) < 15].max()) for hz in (1500, 1900)]
    assert at[0] - at[1] > 55  # 40 dB before


def test_rumble_lies_far_below_all_calls():
    f, density = scipy.signal.welch(recorded(Recorder(rumble_db=15.0), noise(10)), RATE, nperseg=8192)
    assert density[f < 15].max() > 100 * np.median(density[(f > 500) & (f < 5000)])


def test_nothing_is_louder_than_full_scale():
    sound = noise(2)
    sound[100] = 5000
    assert np.abs(recorded(Recorder(level_db=-15, offset=0.01), sound)).max() <= PEAK + 1e-6


def test_a_drawn_recorder_leaves_the_band_of_the_target():
    for seed in range(200):
        always = RecorderChances(1, 1, 1, 1, 1, 1, 1)
        recorder = draw_recorder(np.random.default_rng(seed), always, RATE, (900.0, 6000.0))
        assert recorder.high_hz >= 6000 and recorder.low_hz <= 720


def test_reverberation_rings_on_after_the_label_and_changes_no_label():
    dry = SceneSettings(
        query_s=10.0, support_s=(6.0, 12.0), recorder=RecorderChances(0, 0, 0, 0, 0, 0, 0),
        slack_s=(0.0, 0.0),
        bank_types=(0, 0), relatives=0.0, strangers=0.0, far=0.0, another_place=0.0, snr_db=(25.0, 30.0),
        textures=("self_noise",), layers=(1, 1), chains=0.0, fill=0.0, songs=0.0,
        families=("sweep", "jumps"),
    )  # fmt: skip
    wet = replace(dry, recorder=RecorderChances(1, 0, 0, 0, 0, 0, 0))
    gains = []
    for number in range(8):
        a, b = make_scene(9, number, dry), make_scene(9, number, wet)
        assert np.array_equal(a.events.offset_s, b.events.offset_s)
        gains += [after_db(b, i) - after_db(a, i) for i in range(a.events.onset_s.size - 1)]
    measured = np.array(gains)[np.isfinite(gains)]
    assert len(measured) > 20 and measured.mean() > 3


def after_db(scene: Scene, event: int) -> float:
    """Level right after an event relative to the quietest tenth of the scene; the next event is left out.

    NaN where it follows at once.
    """
    end = min(scene.events.offset_s[event] + 0.06, scene.events.onset_s[event + 1])
    after = scene.sound[round((scene.events.offset_s[event] + 0.005) * RATE) : round(end * RATE)]
    frames = scene.sound[: scene.sound.size // 512 * 512].reshape(-1, 512)
    floor = np.quantile(np.square(frames).mean(axis=1), 0.1)
    return level_db(after) - 10 * np.log10(floor) if after.size > 200 else np.nan


# ---- annotator


def test_what_is_audible_of_a_fading_call_shrinks_with_its_level():
    call = tone(2000, 1.0) * np.linspace(1, 0, RATE, dtype=np.float32)
    call /= call.std()
    spans = [audible_span_s(call, RATE, snr_db, 0.0) for snr_db in (30.0, 10.0, 0.0)]
    ends = [span[1] for span in spans]
    assert all(span[0] < 0.01 for span in spans)
    assert 1.0 >= ends[0] > ends[1] > ends[2] > 0.2


def test_short_and_narrow_calls_need_more_to_be_heard():
    band_hz = (1000.0, 1500.0)
    assert hearing_db(10.0, band_hz) < 0.1
    assert hearing_db(0.024, band_hz) == pytest.approx(10 * np.log10(2))
    assert hearing_db(0.01, band_hz) > hearing_db(0.05, band_hz)


def test_boxes_have_their_slack_and_meet_between_neighbours():
    annotator = Annotator(0.0, lead_s=0.1, trail_s=0.3)
    spans, known = np.array([[1.0, 2.0], [2.1, 3.0], [9.0, 9.9]]), np.array([True, False, True])
    marked, certain = mark_series(annotator, spans, known, 10.0, np.random.default_rng(0))
    assert marked == pytest.approx(np.array([[0.9, 2.05], [2.05, 3.3], [8.9, 10.0]]))
    assert certain.tolist() == [True, False, True]


def test_a_filled_series_is_one_event_and_known_when_one_call_is():
    annotator = Annotator(0.0, fill_s=0.5)
    spans = np.array([[1.0, 2.0], [2.4, 3.0], [3.5, 4.0], [5.0, 6.0]])
    known = np.array([False, True, False, False])
    marked, certain = mark_series(annotator, spans, known, 10.0, np.random.default_rng(0))
    assert marked.tolist() == [[1.0, 4.0], [5.0, 6.0]] and certain.tolist() == [True, False]


def test_no_calls_give_no_events():
    marked, known = mark_series(
        Annotator(0.0), np.zeros((0, 2)), np.zeros(0, bool), 5.0, np.random.default_rng(0)
    )
    assert marked.shape == (0, 2) and known.shape == (0,)
