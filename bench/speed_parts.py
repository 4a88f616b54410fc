"""Rows of bench/speed.py on generated features: each part of training, fine-tuning, judging and scoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from speed_common import CLASSES, MINUTE_S, Bench, Parts
from torch import Tensor

from fiveshot.adaptation.episode import Episode
from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.inference import FrozenWindows, NormalisedFeatures, embeddings
from fiveshot.adaptation.method import load_method
from fiveshot.adaptation.similarity import shot_similarity
from fiveshot.adaptation.support import support_windows
from fiveshot.core.config import Config
from fiveshot.detection.metric import Reference, evaluate
from fiveshot.network.model import FewShotNetwork, detect_target, output_frames
from fiveshot.network.steps import to_frames
from fiveshot.training.loop import enrolment_vector, losses

Batch = dict[str, Tensor]
AT_ONCE = 16  # windows passed the published way; all at once is no faster and needs eight gigabytes


def training_batch(bench: Bench, count: int) -> Batch:
    """A training batch; in each enrolment four calls, an eighth of its frames in all."""
    config, device = bench.config, bench.backend.device
    frames, shape = config.windows.frames, (len(config.features.channels), config.features.mels)
    enrolled = min(config.train.enrolment_frames, frames)
    mask = torch.zeros(count, enrolled, dtype=torch.bool)
    for start in torch.linspace(0.2, 0.7, 4):
        first = int(start * enrolled)
        mask[:, first : first + max(1, enrolled // 32)] = True
    generator = torch.Generator().manual_seed(0)
    enrolment = torch.randn(count, shape[0], enrolled, shape[1], generator=generator)
    batch = {
        "features": torch.randn(count, shape[0], frames, shape[1], generator=generator),
        "labels": torch.randint(0, CLASSES + 1, (count, frames), generator=generator),
        "target": torch.randint(1, CLASSES + 1, (count,), generator=generator),
        "enrolment": enrolment * mask[:, None, :, None],
        "enrolment_mask": mask,
    }
    return {name: value.to(device) for name, value in batch.items()}


def training_step(bench: Bench) -> dict[str, float]:
    """One step of the multitask training, both branches, with the configured batch."""
    network, count = bench.network().train(), bench.config.train.batch_size
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    batch = training_batch(bench, count)
    taken = bench.seconds(lambda: training_work(bench, network, optimizer, batch))
    return {"s": taken, "windows_per_s": count / taken}


def training_work(
    bench: Bench, network: FewShotNetwork, optimizer: torch.optim.Optimizer, batch: Batch
) -> None:
    with bench.backend.autocast():
        sed, te_vad = losses(network, batch)
    optimizer.zero_grad(set_to_none=True)
    (sed + te_vad).backward()
    optimizer.step()


def training_parts(bench: Bench) -> dict[str, float]:
    """The same step, part by part."""
    network, batch = bench.network().train(), training_batch(bench, bench.config.train.batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    training_work(bench, network, optimizer, batch)
    clock = Parts(bench)
    with bench.backend.autocast(), torch.no_grad():
        network.encoder(batch["features"])
        clock.end("windows_forward_s")
        if network.te_vad is not None:
            enrolment_vector(network, batch["enrolment"], batch["enrolment_mask"])
            clock.end("enrolment_forward_s")
    with bench.backend.autocast():
        both = sum(losses(network, batch))
    clock.end("forward_and_head_backward_s")
    both.backward()
    clock.end("backward_s")
    optimizer.step()
    clock.end("optimizer_s")
    whole = ("forward_and_head_backward_s", "backward_s", "optimizer_s")
    return {"s": sum(clock.spent[name] for name in whole)} | clock.spent


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, as a part of the largest value."""
    return float((a - b).abs().max() / a.abs().max())


def choices(bench: Bench) -> dict[str, float]:
    """Encoder, forward and backward, eight windows: other precisions and formats against the one in use."""
    batch, device = training_batch(bench, 8)["features"], bench.backend.device

    def run(encoder: Callable[[Tensor], Tensor], precision: torch.dtype | None) -> None:
        with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
            loss = encoder(batch).float().square().mean()
        loss.backward()

    usual = bench.network().train().encoder
    other = bench.network().train().encoder.to(memory_format=torch.contiguous_format)
    narrow = None if bench.backend.bfloat16 else torch.bfloat16
    in_use = torch.bfloat16 if bench.backend.bfloat16 else None
    row = {"s": bench.seconds(lambda: run(usual, in_use), 3, 0.5)}
    row["contiguous_s"] = bench.seconds(lambda: run(other, in_use), 3, 0.5)
    row["float32_s" if bench.backend.bfloat16 else "bfloat16_s"] = bench.seconds(
        lambda: run(usual, narrow), 1
    )
    try:
        compiled = torch.compile(usual)
        began = time.perf_counter()
        run(compiled, in_use)
        row["compiling_s"] = time.perf_counter() - began
        row["compiled_s"] = bench.seconds(lambda: run(compiled, in_use), 3, 0.5)
        row["s"] = min(row["s"], bench.seconds(lambda: run(usual, in_use), 3, 0.5))
    except Exception as error:  # no compiler on this machine: a fact to be shown, whatever torch calls it
        print(f"torch.compile: {type(error).__name__}")
    return row


def sed_branch(bench: Bench) -> dict[str, float]:
    """Fine-tuning and judging a recording of one minute, by parts."""
    network, settings = bench.network(), bench.config.finetune.sed
    began = time.perf_counter()
    training = training_windows(bench, bench.config, network)
    once = time.perf_counter() - began
    row = _ticked(bench, "sed", bench.episode(MINUTE_S, network, training))
    ticks = row.pop("ticks")
    late = ticks[settings.pseudo_labels.from_step :]
    row["step_s"] = float(np.median(ticks[1 : settings.pseudo_labels.from_step]))
    if len(late) > 1 and settings.pseudo_labels.weight > 0:
        row["step_with_pseudo_labels_s"] = float(np.median(late[1:]))
    return row | {"training_windows_once_s": once}


def training_windows(bench: Bench, config: Config, network: FewShotNetwork) -> LowWindows:
    """The training windows after the frozen blocks."""
    features, labels = training_crops(bench)
    settings = config.finetune.sed
    wanted = None if settings.batch_norm == "adapting" else labels > 0
    half = settings.replay.precision == "float16"
    return pass_frozen(network, features, labels, bench.backend, wanted, half)


def training_crops(bench: Bench) -> tuple[np.ndarray, np.ndarray]:
    """Windows of every class, with a class in four spans of each, an eighth of its frames in all."""
    settings = bench.config.finetune.sed
    count, frames = settings.replay.windows_per_class * CLASSES, settings.replay.crop_frames
    frames = min(frames, bench.config.windows.frames)
    shape = (count, len(bench.config.features.channels), frames, bench.config.features.mels)
    labels = np.zeros((count, frames), dtype=np.int64)
    for start in np.linspace(0.06, 0.8, 4):
        first = int(start * frames)
        labels[:, first : first + max(1, frames // 32)] = 1 + np.arange(count)[:, None] % CLASSES
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32), labels


def te_vad_branch(bench: Bench) -> dict[str, float]:
    """Fine-tuning and judging a recording of one minute, by parts."""
    network = bench.network()
    if network.te_vad is None:
        return {}
    row = _ticked(bench, "te_vad", bench.episode(MINUTE_S, network))
    ticks = row.pop("ticks")
    return row | {"step_s": float(np.median(ticks[1:]))}


def _ticked(bench: Bench, name: str, episode: Episode) -> dict:
    times: list[float] = []

    def tick(_: int) -> None:
        bench.done()
        times.append(time.perf_counter())

    began = time.perf_counter()
    total = bench.once(lambda: _scores(name, episode, tick))
    ticks = np.diff([began, *times])
    return {
        "s": total,
        "first_step_s": float(ticks[0]),
        "judging_s": began + total - times[-1],
        "ticks": ticks,
    }


def half_hour(bench: Bench) -> dict[str, float]:
    """Fine-tuning and judging a recording of thirty minutes, both branches."""
    network = bench.network()
    episode = bench.episode(30 * MINUTE_S, network, training_windows(bench, bench.config, network))
    names = ["sed"] if network.te_vad is None else ["sed", "te_vad"]
    row = {f"{name}_s": bench.once(partial(_scores, name, episode, _silent)) for name in names}
    return {"s": sum(row.values())} | row


def _scores(name: str, episode: Episode, tick: Callable[[int], None]) -> tuple[np.ndarray, float]:
    """P(POS) of the recording and the confidence level, by one method."""
    fitted = load_method(name).fit(episode, tick)
    return fitted.predict(), fitted.confidence_level


def _silent(_: int) -> None:
    pass


def support_of_a_step(bench: Bench, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """The support windows that a step of the SED branch takes, and their labels."""
    settings = bench.config.finetune
    count = min(settings.support.windows, settings.sed.windows_per_step)
    rng, frames = np.random.default_rng(0), bench.config.windows.frames
    return support_windows(episode.support_features, episode.support, settings.support, frames, count, rng)


def strips(bench: Bench) -> dict[str, float]:
    """Forward and backward through a step's support: whole windows, or strips kept from block 2."""
    network = bench.network()
    windows, labels = support_of_a_step(bench, bench.episode(MINUTE_S, network))
    low = pass_frozen(network, windows, labels, bench.backend)
    tensor = torch.from_numpy(windows).to(bench.backend.device)
    results = {}
    for block in (network.encoder.block0, network.encoder.block1):
        block.requires_grad_(False)

    def run(name: str, embed: Callable[[], Tensor]) -> None:
        network.zero_grad(set_to_none=True)
        with bench.backend.autocast():
            loss = embed().float().square().mean()
        loss.backward()
        results[name] = network.encoder.block3.conv.weight.grad.detach().clone()

    def on_strip() -> Tensor:
        return low.whole.spread(low.whole.embedded(network.encoder))

    row = bench.compared(
        lambda: run("plain", lambda: network.encoder(tensor)), lambda: run("strips", on_strip)
    )
    share = len(low.whole.neighbours) / low.whole.place.numel()
    return row | {"difference": difference(results["plain"], results["strips"]), "share_of_steps": share}


def heads_on_steps(bench: Bench) -> dict[str, float]:
    """The TE-VAD head on equal copies of each step, as published, or on steps."""
    network, frames = bench.network(), bench.config.windows.frames
    per_step, device = bench.config.network.frames_per_step, bench.backend.device
    if network.te_vad is None:
        return {}
    embedding = torch.randn(8, -(-frames // per_step), network.embedding, device=device)
    target = torch.randn(8, network.embedding, device=device)
    found = {}

    @torch.inference_mode()
    def run(name: str, values: Tensor, repeats: int) -> None:
        with bench.backend.autocast():
            logits = detect_target(network.te_vad, values, target, frames, repeats)
        found[name] = to_frames(logits, output_frames(network.te_vad, repeats), frames).float()

    copies = to_frames(embedding, per_step, frames)
    row = bench.compared(lambda: run("plain", copies, 1), lambda: run("steps", embedding, per_step))
    return row | {"difference": float((found["plain"] - found["steps"]).abs().max())}


def windows_at_once(recorded: NormalisedFeatures, starts: np.ndarray, frames: int) -> Iterator[np.ndarray]:
    """The windows that begin there, some at a time: (windows, channels, frames, mels)."""
    for i in range(0, len(starts), AT_ONCE):
        yield np.stack([recorded.frames(int(s), int(s) + frames) for s in starts[i : i + AT_ONCE]])


def query_pass(bench: Bench) -> dict[str, float]:
    """A query of two minutes: every overlapping window through the encoder, or each different step once."""
    network, windows = bench.network(), bench.config.windows
    per_step, device = network.frames_per_step, bench.backend.device
    recorded = bench.recorded(2 * MINUTE_S)
    weight = torch.randn(network.embedding, device=device) / network.embedding**0.5
    span = FrozenWindows(recorded, 0, recorded.n_frames, windows, network, bench.backend)
    p = {}

    def predict(embedding: Tensor) -> Tensor:
        return (embedding.float() @ weight).sigmoid()

    @torch.inference_mode()
    def window_by_window() -> None:
        rows = []
        for cut in windows_at_once(recorded, span.starts, windows.frames):
            with bench.backend.autocast():
                embedding = network.encoder(torch.from_numpy(cut).to(device))
            rows.append(to_frames(predict(embedding), per_step, windows.frames).cpu().numpy())
        p["plain"] = span.stitch(np.concatenate(rows))

    def once() -> None:
        anew = FrozenWindows(recorded, 0, recorded.n_frames, windows, network, bench.backend)
        p["once"] = anew.stitch(anew.predict(network.encoder, predict, per_step))

    row = bench.compared(window_by_window, once)
    return row | {"difference": float(np.abs(p["plain"] - p["once"]).max())}


def whole_events(bench: Bench) -> dict[str, float]:
    """Similarity of a recording of ten minutes to its shots."""
    episode = bench.episode(10 * MINUTE_S, bench.network())
    return {"s": bench.seconds(lambda: shot_similarity(episode.features, episode.support), least=1)}


def long_recording(bench: Bench) -> dict[str, float]:
    """Embeddings of half an hour."""
    network, recorded = bench.network(), bench.recorded(30 * MINUTE_S)
    return {"s": bench.once(lambda: embeddings(recorded, network.encoder, bench.backend))}


def metric(bench: Bench) -> dict[str, float]:
    """10,000 predictions against 10,000 references in one recording."""
    rng = np.random.default_rng(0)
    onsets = np.sort(rng.uniform(10, 36_000, 10_000))
    reference = Reference("a.wav", "A", onsets, onsets + 1, np.full(len(onsets), "POS", dtype=object))
    predicted = np.stack([onsets, onsets + 1], axis=1) + rng.normal(0, 0.3, (len(onsets), 1))
    return {"s": bench.seconds(lambda: evaluate([reference], {"a.wav": predicted}, resamples=0), least=1)}
