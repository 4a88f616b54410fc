"""A row of bench/speed.py: one whole step of the training, the published way and as here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from reference import published
from speed_common import Bench
from speed_parts import AT_ONCE, Batch, difference, training_batch, training_work
from torch import Tensor, nn

from fiveshot.network.losses import frame_cross_entropy, target_labels
from fiveshot.network.model import FewShotNetwork
from fiveshot.training.loop import losses

ALIKE = 4  # windows that losses and gradients of both ways are compared on


def training_plain(bench: Bench) -> dict[str, float]:
    """Forward, backward and optimizer's step of some windows, in plain operations as published, and as here.

    Published, each window is encoded once for each branch, the heads run over frames, and enrolments pass at
    their full rate, masked behind every layer, into the batch's mean and variance. Those of masked zeros are
    not reproduced here, so that losses and gradients are compared with the running statistics in enrolments;
    and without dropout, which is drawn otherwise. `windows` is the batch, cut down to what the published way
    has memory for.
    """
    count = min(bench.config.train.batch_size, AT_ONCE)
    network, batch = bench.network().train(), training_batch(bench, count)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def published_step() -> None:
        with bench.backend.autocast():
            loss = published_losses(network, batch, as_here=False)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    row = bench.compared(published_step, lambda: training_work(bench, network, optimizer, batch))
    return row | {"windows": count} | compared_values(bench)


def compared_values(bench: Bench) -> dict[str, float]:
    """Losses, and gradients of a weight deep in the encoder, of both ways."""
    network, batch = bench.network().train(), training_batch(bench, ALIKE)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    kept = {key: value.clone() for key, value in network.state_dict().items()}

    def outcome(both: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        network.load_state_dict(kept)
        network.zero_grad(set_to_none=True)
        with bench.backend.autocast():
            loss = both()
        loss.backward()
        return loss.detach(), network.encoder.block1.conv.weight.grad.clone()

    plain = outcome(lambda: published_losses(network, batch, as_here=True))
    here = outcome(lambda: sum(losses(network, batch)))
    # In single precision a rounding may turn a ReLU or choose another of two values in a pool; in double
    # precision the gradients are the same to 1e-9, see tests/network/test_fast_cpu.py.
    names = ("difference", "gradient_difference")
    return {name: difference(*pair) for name, *pair in zip(names, plain, here, strict=True)}


def published_losses(network: FewShotNetwork, batch: Batch, as_here: bool) -> Tensor:
    """Both losses, in plain operations; with enrolments `as_here` the losses are those of this project."""
    labels, frames, per_step = batch["labels"], batch["labels"].shape[1], network.frames_per_step
    encoder, enrolment, mask = network.encoder, batch["enrolment"], batch["enrolment_mask"]
    embedding = published.encoder(encoder, batch["features"], True)
    on_frames = published.repeated(embedding, frames, per_step)
    loss = frame_cross_entropy(network.sed(on_frames), labels, 1)
    if network.te_vad is None:
        return loss
    if as_here and encoder.enrolment_pooling == "time_and_mel":
        target = published.mean_embedding(published.encoder(encoder, enrolment, False), mask, per_step)
    else:
        target = published.enrolment_vectors(encoder, enrolment, mask, not as_here)
    if not as_here:  # a second time would move the running statistics, which the enrolments share, once more
        embedding = published.encoder(encoder, batch["features"], True)
    logits = published.te_vad_head(network.te_vad, embedding, target, frames, per_step)
    return loss + frame_cross_entropy(logits, target_labels(labels, batch["target"]), 1)
