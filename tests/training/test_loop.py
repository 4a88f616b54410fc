"""Training: the same run twice, a run in two parts, and what must not reach the parameters."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import cpu, same_tensors, small_config, small_training_data

from fiveshot.core.errors import FiveshotError
from fiveshot.network.checkpoint import load_checkpoint
from fiveshot.run.folder import Run
from fiveshot.training import loop as training
from fiveshot.training.dataset import epoch_draw
from fiveshot.training.loop import new_state, resume, set_learning_rates, train, train_epoch, validate
from fiveshot.training.windows import Window, window_set

KINDS = ("transformer", "bilstm", "none")


def prepared(folder, *changes):
    """A run's folder with feature files, its training data and configuration."""
    config, run = small_config(*changes), Run(folder)
    return run, small_training_data(run, config), config


def trained(folder, *changes):
    run, data, config = prepared(folder, *changes)
    return run, train(run, data, config, cpu(config))


def one_batch(data, config, augment=False):
    pairs = [(i, data.train.windows[i].targets[0]) for i in range(6)]
    loader = training.window_loader(data, data.train, pairs, [0], config, cpu(config), augment)
    return next(iter(loader))


def load_info(path):
    return load_checkpoint(path)[1]


def load_tensors(path):
    return load_checkpoint(path)[0]


def te_vad(kind):
    return (f"network.te_vad={kind}", f"detect.methods={'[sed]' if kind == 'none' else '[sed, te_vad]'}")


@pytest.mark.slow
def test_two_identical_runs_give_bitwise_identical_parameters(tmp_path):
    (run, one), (_, other) = trained(tmp_path / "one"), trained(tmp_path / "other")
    assert same_tensors(one.network.state_dict(), other.network.state_dict())
    assert one.rows == other.rows
    assert same_tensors(load_tensors(run.latest)["network"], one.network.state_dict())


def test_another_seed_gives_other_parameters(tmp_path):
    (_, one), (_, other) = trained(tmp_path / "one"), trained(tmp_path / "other", "seed=5")
    assert not same_tensors(one.network.state_dict(), other.network.state_dict())


class Stopped(Exception):
    """The process ends here."""


def stopped_after(epochs, monkeypatch, folder, *changes):
    """A run that dies in the epoch after this many."""
    run, data, config = prepared(folder, *changes)
    with monkeypatch.context() as patched:

        def dying(state, *rest):
            if state.epoch == epochs:
                train_epoch(state, *rest)  # what an unfinished epoch has done must not matter
                raise Stopped
            return train_epoch(state, *rest)

        patched.setattr(training, "train_epoch", dying)
        with pytest.raises(Stopped):
            train(run, data, config, cpu(config))
    return run, data, config


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stopped_run_goes_on_to_bitwise_the_same_parameters(tmp_path, monkeypatch, epochs):
    changes = ("train.epochs=3", "train.lr_decay_epochs=1")
    _, whole = trained(tmp_path / "whole", *changes)
    run, data, config = stopped_after(epochs, monkeypatch, tmp_path / "parts", *changes)
    assert load_info(run.latest).epoch == epochs
    assert resume(run.latest, data, config, cpu(config)).epoch == epochs
    parts = train(run, data, config, cpu(config))
    assert same_tensors(parts.network.state_dict(), whole.network.state_dict())
    assert [row["epoch"] for row in parts.rows] == [1, 2, 3]
    assert run.metrics.read_text().count("\n") == 4
    assert files_of(run) == files_of(Run(tmp_path / "whole"))


def test_a_finished_run_is_not_trained_further(tmp_path, monkeypatch):
    run, data, config = prepared(tmp_path)
    state = train(run, data, config, cpu(config))
    monkeypatch.setattr(training, "train_epoch", None)
    again = train(run, data, config, cpu(config))
    assert same_tensors(state.network.state_dict(), again.network.state_dict())


def test_more_epochs_go_on_from_the_last_one(tmp_path):
    run, data, config = prepared(tmp_path, "train.epochs=1")
    train(run, data, config, cpu(config))
    assert resume(run.latest, data, small_config("train.epochs=2"), cpu(config)).epoch == 1


@pytest.mark.parametrize(
    "change", ["train.batch_size=8", "labels.truncated_events=keep", "network.channels=4", "seed=1"]
)
def test_other_settings_start_over(tmp_path, change):
    run, data, config = prepared(tmp_path, "train.epochs=1")
    train(run, data, config, cpu(config))
    other = small_config("train.epochs=1", change)
    state = resume(run.latest, data, other, cpu(other))
    assert state.epoch == 0 and not state.rows


def test_other_recordings_start_over_and_are_reported(tmp_path, caplog, monkeypatch):
    run, data, config = prepared(tmp_path, "train.epochs=1")
    train(run, data, config, cpu(config))
    monkeypatch.setattr(training.log, "propagate", True)
    caplog.set_level("INFO", "fiveshot")
    fewer = replace(data, files=data.files[:-1])
    assert resume(run.latest, fewer, config, cpu(config)).epoch == 0
    assert "training recordings changed (0 new, 1 gone)" in caplog.messages[-1]
    assert resume(run.latest, data, config, cpu(config)).epoch == 1


@pytest.mark.parametrize("workers", ["auto", 1])
def test_a_feature_file_that_is_damaged_on_the_way_is_one_sentence(tmp_path, workers):
    run, data, config = prepared(tmp_path, f"compute.workers={workers}")
    path = data.files[0].features.path
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 255
    path.write_bytes(stored)
    with pytest.raises(FiveshotError, match=r"t0\.h5: a damaged file of features") as caught:
        train(run, data, config, cpu(config))
    assert "Traceback" not in str(caught.value)


def files_of(run):
    return {
        path.relative_to(run.folder): path.read_bytes() for path in run.folder.rglob("*") if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["best.pt", "best.json", "latest.json", "metrics.csv"])
@pytest.mark.parametrize("damage", [None, b"", b"half of i"])
def test_what_follows_from_the_state_is_regenerated(tmp_path, lost, damage):
    # The process may die between two writes, and files may be damaged later.
    run, _ = trained(tmp_path)
    before = files_of(run)
    (path,) = run.folder.rglob(lost)
    path.unlink() if damage is None else path.write_bytes(damage)
    _, _ = trained(tmp_path)
    assert files_of(run) == before


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_damaged_state_is_trained_anew_to_the_same_bytes(tmp_path, share):
    run, _ = trained(tmp_path)
    before = files_of(run)
    data = run.latest.read_bytes()
    run.latest.write_bytes(data[: int(share * len(data))])
    trained(tmp_path)
    assert files_of(run) == before


def test_a_checkpoint_that_is_no_state_is_not_gone_on_from(tmp_path):
    run, state = trained(tmp_path)
    run.latest.write_bytes(run.best.read_bytes())
    _, again = trained(tmp_path)
    assert same_tensors(state.network.state_dict(), again.network.state_dict())


def test_both_checkpoints_are_written_and_best_is_the_best(tmp_path):
    run, state = trained(tmp_path, "train.epochs=3")
    choices = [row["choice"] for row in state.rows]
    assert load_info(run.latest).epoch == 3
    assert load_info(run.best).epoch == 1 + int(np.argmax(choices))
    assert load_info(run.best).metrics["choice"] == max(choices) == state.best


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_te_vad_trains_a_step(tmp_path, kind):
    _, data, config = prepared(tmp_path, *te_vad(kind), "train.windows_per_class=4")
    state = new_state(data, config, cpu(config))
    before = {key: value.clone() for key, value in state.network.named_parameters()}
    row = train_epoch(state, data, config, cpu(config)) | validate(state, data, config, cpu(config))
    moved = {key for key, value in state.network.named_parameters() if not torch.equal(value, before[key])}
    # Batch normalisation takes a convolution's bias away again; its gradient is rounding.
    assert {key for key in before if "conv.bias" not in key} <= moved
    assert (row["te_vad_loss"] > 0) == (kind != "none") == ("te_vad_accuracy" in row)
    assert 0 <= row["sed_accuracy"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_learnable_problem_is_learnt(tmp_path, kind):
    changes = ("train.epochs=4", "train.windows_per_class=48", "network.dropout=0")
    _, state = trained(tmp_path, *te_vad(kind), *changes)
    first, last = state.rows[0], state.rows[-1]
    assert last["sed_loss"] < 0.6 * first["sed_loss"]
    if kind != "none":
        assert last["te_vad_loss"] < 0.9 * first["te_vad_loss"]


def test_the_masked_enrolment_does_not_feed_the_batch_statistics(tmp_path):
    _, data, config = prepared(tmp_path)
    batch = one_batch(data, config)
    found = []
    for factor in (1, 100):
        network = new_state(data, config, cpu(config)).network.train()
        training.losses(network, batch | {"enrolment": factor * batch["enrolment"]})
        assert network.encoder.training
        found.append(dict(network.encoder.named_buffers()))
    assert same_tensors(*found)
    assert found[0]["block0.norm.num_batches_tracked"] == 1


def test_the_enrolment_teaches_the_encoder(tmp_path):
    _, data, config = prepared(tmp_path)
    batch = one_batch(data, config)
    network = new_state(data, config, cpu(config)).network.train()
    training.enrolment_vector(network, batch["enrolment"], batch["enrolment_mask"]).sum().backward()
    assert network.encoder.block0.conv.weight.grad.abs().sum() > 0


def test_only_frames_of_the_class_make_the_target_vector(tmp_path):
    _, data, config = prepared(tmp_path)
    batch = one_batch(data, config)
    network = new_state(data, config, cpu(config)).network.eval()
    mask = batch["enrolment_mask"]
    assert not batch["enrolment"][~mask[:, None, :, None].expand_as(batch["enrolment"])].any()
    one = training.enrolment_vector(network, batch["enrolment"], mask)
    none = training.enrolment_vector(network, batch["enrolment"], torch.zeros_like(mask))
    assert not none.any() and one.any()


def messages(caplog, monkeypatch, folder, *changes):
    """What training says, by a clock that is asked twice in 10 seconds of training and at an epoch's ends."""
    ticks = iter(range(0, 1000, 10))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(training.log, "propagate", True)
    caplog.set_level("INFO", "fiveshot")
    trained(folder, *changes)
    return caplog.messages


@pytest.mark.slow
def test_before_training_its_epochs_are_counted_and_after_a_few_batches_timed(tmp_path, caplog, monkeypatch):
    found = messages(caplog, monkeypatch, tmp_path, "train.windows_per_class=112", "train.epochs=2")
    count, speed, *epochs = found[-4:]
    assert count == "an epoch: 2 classes x 112 windows, 224 in all, in 14 batches"
    assert (
        speed == "at the speed of the first batches, an epoch trains for about 47 seconds"
    )  # 10 s for 3 of 14
    assert [line.split()[1] for line in epochs] == ["1", "2"]


def test_an_epoch_counts_as_many_windows_of_each_class_as_the_largest_has_and_background_once():
    targets = [(1,)] * 7 + [(2,)] * 3 + [()] * 4
    windows = window_set([Window(0, start, target) for start, target in enumerate(targets)])
    data = training.TrainingData([], windows, windows, ["a", "b"], (np.zeros(1), np.ones(1)))
    config = small_config("train.windows_per_class=auto")
    assert len(epoch_draw(windows, None, np.random.default_rng(0))) == 18
    text = "an epoch: 2 classes x 7 windows and 4 background windows, 18 in all, in 2 batches"
    assert training._epoch_text(data, config) == text


def test_a_short_epoch_is_not_timed(tmp_path, caplog, monkeypatch):
    assert not any("speed" in line for line in messages(caplog, monkeypatch, tmp_path))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 seconds"), (119, "119 seconds"), (121, "2 minutes"), (18000, "5 hours")]
)
def test_durations_are_reported_in_a_unit_that_gives_a_small_number(seconds, text):
    assert training._duration(seconds) == text


class BadGradient(torch.autograd.Function):
    """The identity, with a gradient that is no number."""

    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


@pytest.mark.parametrize(
    "what, spoil", [("loss", lambda v: v * float("nan")), ("parameters", BadGradient.apply)]
)
def test_what_is_no_number_names_epoch_batch_and_recordings_and_leaves_the_checkpoints(
    tmp_path, monkeypatch, what, spoil
):
    run, data, config = prepared(tmp_path, "train.epochs=3")
    real, calls, kept = training.losses, [], {}

    def failing(network, batch):
        sed, te_vad = real(network, batch)
        if network.training:
            calls.append(1)
        if len(calls) < 4:
            return sed, te_vad
        kept.update({path: path.read_bytes() for path in run.latest.parent.iterdir()})
        return spoil(sed), te_vad

    monkeypatch.setattr(training, "losses", failing)
    with pytest.raises(FiveshotError, match=f"the {what} .* epoch 2, batch 2, .*BIRDS/t") as error:
        train(run, data, config, cpu(config))
    assert "\n" not in str(error.value) and load_info(run.latest).epoch == 1
    assert len(kept) == 4 and {path: path.read_bytes() for path in run.latest.parent.iterdir()} == kept


def test_a_step_that_overflows_is_not_saved(tmp_path):
    # The first and only batch of an epoch has a finite loss and a finite gradient.
    run, data, config = prepared(tmp_path, "train.learning_rate=1e30", "train.batch_size=200")
    with pytest.raises(FiveshotError, match="the parameters are not finite in epoch 1, batch 1"):
        train(run, data, config, cpu(config))
    assert not run.latest.exists()


def test_a_learning_rate_that_explodes_is_said(tmp_path):
    with pytest.raises(FiveshotError, match=r"not finite in epoch \d, batch \d"):
        trained(tmp_path, "train.learning_rate=1e30", "train.te_vad_learning_rate=1e30")


def test_learning_rates_decay_in_steps_and_each_head_has_its_own(tmp_path):
    _, data, config = prepared(tmp_path, "train.lr_decay=0.5", "train.lr_decay_epochs=2")
    state = new_state(data, config, cpu(config))
    rates = []
    for state.epoch in range(5):
        set_learning_rates(state, config)
        rates.append(tuple(group["lr"] for group in state.optimizer.param_groups))
    assert rates == [(1e-2 * f, 3e-3 * f) for f in (1, 1, 0.5, 0.5, 0.25)]


def test_validation_changes_nothing_and_is_the_same_each_time(tmp_path):
    _, data, config = prepared(tmp_path)
    state = new_state(data, config, cpu(config))
    before = {key: value.clone() for key, value in state.network.state_dict().items()}
    first = validate(state, data, config, cpu(config))
    state.epoch = 7
    assert validate(state, data, config, cpu(config)) == first
    assert same_tensors(state.network.state_dict(), before)
