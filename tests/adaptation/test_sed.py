"""The SED branch: the steps of the published program to its numbers, and the fast forms against the exact."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from small import DATA, HIGH, LOW, bright, cpu, small_config
from torch.nn import functional

from fiveshot.adaptation import batch_norm
from fiveshot.adaptation.batch_norm import Part, chunks, recalculate_statistics, statistics_of_batch
from fiveshot.adaptation.episode import Episode
from fiveshot.adaptation.frozen import pass_frozen
from fiveshot.adaptation.inference import FrozenWindows
from fiveshot.adaptation.pseudo_labels import choose_windows, pseudo_labels
from fiveshot.adaptation.sed import SedAdaptation, SedBranch, SedData, initial_vectors
from fiveshot.adaptation.support import Support
from fiveshot.core.config import load_config
from fiveshot.core.errors import FiveshotError
from fiveshot.network.checkpoint import build_network

EXACT = 1e-5  # the order of sums only
CONFIG = small_config()
PUBLISHED = DATA / "published_steps.npz"


class Listed(FrozenWindows):
    """Given windows in place of those cut from a recording."""

    def __init__(self, low, backend):
        self.low, self.backend, self.window = low, backend, low.labels.shape[1]

    def __len__(self):
        return len(self.low)

    def groups(self):
        yield self.low

    def items(self, chosen):
        return [(self.low, chosen)]


def bare_episode(config):
    """An episode that only knows settings and the length of its shots: what is learnt from is given."""
    support = Support(np.array([[0, 10]]), np.zeros((0, 2), int), 10)
    return Episode(None, support, config, cpu(config), None, None, 1)


def published_windows():
    """The inputs of the recorded steps: features and labels of support, training and query; the SED head."""
    rng = np.random.default_rng(11)

    def drawn(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    pattern, support, training, query = (
        drawn(20, 128),
        drawn(16, 87, 128),
        drawn(456, 87, 128),
        drawn(6, 87, 128),
    )
    weight, bias = drawn(20, 1024) * np.float32(0.03), drawn(20) * np.float32(0.05)
    labels = {
        name: np.zeros((n, 87), np.int64) for name, n in (("support", 16), ("training", 456), ("query", 6))
    }
    for k in range(16):
        support[k, 20 + k : 50 + k] += pattern[0]
        labels["support"][k, 20 + k : 50 + k] = 1
    for k in range(456):
        training[k, 30:60] += pattern[k // 24 + 1]
        labels["training"][k, 30:60] = k // 24 + 1
    query[:4, 25:65] += pattern[0]
    return {"support": support, "training": training, "query": query}, labels, weight, bias


def published_adaptation(*changes):
    """The SED branch of the recorded steps, before the first."""
    config = load_config(
        DATA.parents[1] / "config.yaml",
        None,
        [
            "windows.frames=87",
            "windows.hop_frames=40",
            "finetune.sed.pseudo_labels.from_step=2",
            "compute.device=cpu",
            *changes,
        ],
    )
    backend = cpu(config)
    network = build_network(config, 19).eval()
    features, labels, weight, bias = published_windows()
    stored = np.load(DATA / "encoder.npz")
    network.encoder.load_state_dict(
        {name: torch.from_numpy(stored[name]) for name in stored if name.startswith("block")}, strict=False
    )
    with torch.no_grad():
        network.sed.weight.copy_(torch.from_numpy(weight))
        network.sed.bias.copy_(torch.from_numpy(bias))
    low = {name: pass_frozen(network, features[name][:, None], labels[name], backend) for name in features}
    branch = SedBranch(network, *initial_vectors(network, low["support"], config.finetune.sed.unit_frames))
    data = SedData(low["support"], low["training"], Listed(low["query"], backend), None)
    adaptation = SedAdaptation(branch, data, bare_episode(config))
    adaptation._phase = lambda: adaptation.done % 4
    adaptation._order = lambda count: np.arange(count)
    return adaptation


def near(value, wanted, relative):
    """Largest difference against the largest value."""
    value, wanted = np.asarray(value), np.asarray(wanted)
    return np.abs(value - wanted).max() <= relative * np.abs(wanted).max()


@pytest.mark.slow
def test_four_steps_are_those_of_the_published_program():
    known = np.load(PUBLISHED)
    adaptation = published_adaptation()
    branch = adaptation.branch
    assert near(branch.background.detach(), known["initial_background"], 1e-5)
    assert near(branch.weight[0].detach(), known["initial_pos_row"], 1e-5)
    assert near(adaptation.confidence_level(), known["initial_theta"], 1e-5)
    for step, support, classes, pseudo, level, windows in known["steps"]:
        assert near(adaptation.confidence_level(), level, 1e-3)
        values = adaptation.step()
        assert near(values["support"] / 0.1, support, 1e-4)
        assert near(values["class"] / 0.1, classes, 1e-4)
        assert near(values.get("pseudo", 0.0) / 0.1, pseudo, 1e-4)
        if step >= 2:
            assert sum(len(part.chosen) for part in adaptation.pseudo) == windows
    encoder = branch.encoder
    for name, value in {
        "background": branch.background,
        "bias": branch.background_bias,
        "pos_row": branch.weight[0],
        "pos_bias": branch.bias[0],
        "block2.conv.weight[0]": encoder.block2.conv.weight[0],
        "block2.norm.running_mean": encoder.block2.norm.running_mean,
        "block2.norm.running_var": encoder.block2.norm.running_var,
        "block3.norm.running_mean": encoder.block3.norm.running_mean,
        "block3.norm.running_var": encoder.block3.norm.running_var,
    }.items():
        assert near(value.detach(), known[name], 1e-3), name
    p = adaptation.data.query.predict(encoder, branch.predict, branch.output_frames)
    assert near(p, known["query_probability"], 1e-3)
    assert near(adaptation.confidence_level(), known["theta"], 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "finetune.sed.batch_norm=frozen",
        "finetune.sed.reduction=mean",
        "finetune.sed.support_as_class=false",
        "finetune.sed.unit_frames=false",
        "finetune.sed.chunk_windows=16",
    ],
)
def test_every_option_is_another_function_than_the_published_one(change):
    known = np.load(PUBLISHED)
    adaptation = published_adaptation(change)
    for _ in range(2):
        values = adaptation.step()
    _, support, classes, *_ = known["steps"][1]
    differs = not near(values["support"] / 0.1, support, 1e-4) or not near(
        values["class"] / 0.1, classes, 1e-4
    )
    assert differs or not near(adaptation.branch.weight[0].detach(), known["pos_row"], 1e-3)


@cache
def network():
    torch.manual_seed(3)
    made = build_network(CONFIG, 2).eval()
    with torch.no_grad():  # statistics that are not those of the windows below
        for block in (made.encoder.block2, made.encoder.block3):
            block.norm.running_mean.uniform_(-0.1, 0.1)
            block.norm.running_var.uniform_(0.5, 1.5)
    return made


def labelled(count, seed, value=1, band=LOW):
    features = np.array([bright(64, [(20, 40)], seed + k, band) for k in range(count)], np.float32)[:, None]
    labels = np.zeros((count, 64), np.int64)
    labels[:, 20:40] = value
    return features, labels


def adaptation_of(*changes, half=False):
    config = small_config(
        "finetune.sed.windows_per_step=12", "finetune.sed.pseudo_labels.from_step=1", *changes
    )
    made, backend = network(), cpu(config)
    support = pass_frozen(made, *labelled(12, 0), backend)
    classes = [labelled(4, 50, 1, LOW), labelled(4, 90, 2, HIGH)]
    training = pass_frozen(
        made, *(np.concatenate(arrays) for arrays in zip(*classes, strict=True)), backend, half=half
    )
    query = Listed(pass_frozen(made, *labelled(6, 200), backend), backend)
    branch = SedBranch(made, *initial_vectors(made, support, config.finetune.sed.unit_frames))
    data = SedData(support, training, query, None)
    return SedAdaptation(branch, data, bare_episode(config))


def gradients(adaptation, loss):
    adaptation.optimizer.zero_grad(set_to_none=True)
    value = adaptation._backward(loss)
    names = dict(adaptation.branch.named_parameters())
    return value, {name: p.grad.clone() for name, p in names.items() if p.grad is not None}


def plain_logits(adaptation, low, head):
    """Logits of windows that pass blocks 3 and 4 whole, by the running statistics."""
    return head(adaptation.branch.encoder.high(low.dense(np.arange(len(low)))))


def cross_entropy(logits, labels):
    """Of every frame, 0 where it does not count: (windows, frames)."""
    frames = logits.repeat_interleave(4, dim=1)[:, : labels.shape[1]]
    return functional.cross_entropy(frames.transpose(1, 2), labels, reduction="none", ignore_index=-1)


def test_the_support_loss_is_a_sum_over_windows_of_means_over_frames():
    adaptation = adaptation_of("finetune.sed.batch_norm=frozen")
    support, branch = adaptation.data.support, adaptation.branch
    wanted = cross_entropy(plain_logits(adaptation, support, branch.two_way), support.labels).mean(1).sum()
    value, _ = gradients(adaptation, adaptation._support_loss(support, 0.1))
    assert value == pytest.approx(0.1 * wanted.item(), rel=1e-4)
    mean = adaptation_of("finetune.sed.batch_norm=frozen", "finetune.sed.reduction=mean")
    value, _ = gradients(mean, mean._support_loss(mean.data.support, 0.1))
    assert value == pytest.approx(0.1 * wanted.item() / len(support), rel=1e-4)


def test_a_part_of_the_support_stands_for_all_of_it():
    adaptation = adaptation_of("finetune.sed.batch_norm=frozen", "finetune.sed.windows_per_step=3")
    values = [adaptation._backward(adaptation._support_loss(adaptation.data.support, 1.0)) for _ in range(60)]
    all_of_it = adaptation_of("finetune.sed.batch_norm=frozen")
    wanted = all_of_it._backward(all_of_it._support_loss(all_of_it.data.support, 1.0))
    assert np.std(values) > 0 and np.mean(values) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("own", [True, False])
def test_the_class_loss_is_a_mean_over_class_frames_with_the_own_positives_as_class_0(own):
    adaptation = adaptation_of(
        "finetune.sed.batch_norm=frozen", f"finetune.sed.support_as_class={str(own).lower()}"
    )
    data, branch, phase = adaptation.data, adaptation.branch, 1
    training = torch.where(data.training.labels > 0, data.training.labels, -1)[phase::4]
    support = torch.where(data.support.labels == 1, 0, -1)[2 * phase :: 8]
    logits = plain_logits(adaptation, data.training, branch.all_classes)[phase::4]
    total, frames = cross_entropy(logits, training).sum(), (training >= 0).sum()
    if own:
        logits = plain_logits(adaptation, data.support, branch.all_classes)[2 * phase :: 8]
        total, frames = total + cross_entropy(logits, support).sum(), frames + (support >= 0).sum()
    value, _ = gradients(adaptation, adaptation._class_loss(phase))
    assert value == pytest.approx(0.1 * (total / frames).item(), rel=1e-4)


def test_training_windows_as_negatives_are_background_wherever_they_are_labelled():
    adaptation = adaptation_of("finetune.sed.batch_norm=frozen", "finetune.negatives.training_weight=0.5")
    data = adaptation.data
    logits = plain_logits(adaptation, data.training, adaptation.branch.two_way)[1::4]
    wanted = 0.5 * cross_entropy(logits, torch.zeros_like(data.training.labels[1::4])).mean()
    value, _ = gradients(adaptation, adaptation._negative_loss(data.training, 1))
    assert value == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("size", [1, 5, 12, 32])
def test_chunks_give_the_gradients_of_batches_with_statistics_of_their_own(size):
    adaptation = adaptation_of(f"finetune.sed.chunk_windows={size}")
    support = adaptation.data.support
    before = [norm.running_mean.clone() for norm in norms(adaptation)]
    value, found = gradients(adaptation, adaptation._support_loss(support, 0.1))
    other = adaptation_of(f"finetune.sed.chunk_windows={size}")
    encoder = other.branch.encoder
    embedding = []
    for rows in torch.arange(12).split(size):
        with statistics_of_batch(encoder):
            embedding.append(encoder.high(support.dense(rows.numpy())))
    loss = 0.1 * cross_entropy(other.branch.two_way(torch.cat(embedding)), support.labels).mean(1).sum()
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in other.branch.named_parameters():
        if parameter.grad is not None:
            assert (found[name] - parameter.grad).abs().max() < EXACT * max(
                1, parameter.grad.abs().max().item()
            )
    for norm, same, was in zip(norms(adaptation), norms(other), before, strict=True):
        assert torch.equal(norm.running_mean, same.running_mean) and not torch.equal(norm.running_mean, was)


def repeating_windows(made, count=40):
    """Windows put together from the same three spans, as reconstructed ones are."""
    rng = np.random.default_rng(4)
    spans = [
        bright(length, [(2, length - 2)], seed, (LOW, HIGH)[seed % 2])
        for seed, length in enumerate((24, 40, 16))
    ]
    rows = [np.concatenate([spans[i] for i in rng.permutation(3)])[:64] for _ in range(count)]
    labels = rng.integers(0, 2, (count, 16)).repeat(4, axis=1)
    return pass_frozen(made, np.array(rows, np.float32)[:, None], labels, cpu(CONFIG))


@pytest.mark.parametrize("size", [1, 7, 32, 64])
def test_each_different_step_once_gives_the_gradients_and_statistics_of_whole_chunks(monkeypatch, size):
    results = []
    for worthwhile in (1.1, 0.0):  # always, never
        monkeypatch.setattr(batch_norm, "WORTHWHILE", worthwhile)
        adaptation = adaptation_of(f"finetune.sed.chunk_windows={size}", "finetune.sed.windows_per_step=40")
        with torch.no_grad():
            for norm in norms(adaptation):
                norm.weight.uniform_(-1, 2, generator=torch.Generator().manual_seed(1))
                norm.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
        windows = repeating_windows(network())
        assert batch_norm.repeats(adaptation._support_loss(windows, 0.1).parts[0]) == (worthwhile > 0)
        value, found = gradients(adaptation, adaptation._support_loss(windows, 0.1))
        results.append(
            (
                value,
                found,
                [(n.running_mean, n.running_var, n.num_batches_tracked) for n in norms(adaptation)],
            )
        )
    (value, found, statistics), (wanted_value, wanted, wanted_statistics) = results
    assert value == pytest.approx(wanted_value, rel=1e-5)
    for name, gradient in wanted.items():
        assert (found[name] - gradient).abs().max() < 1e-4 * max(1, gradient.abs().max().item()), name
    for one, other in zip(statistics, wanted_statistics, strict=True):
        assert all((a - b).abs().max() < EXACT for a, b in zip(one[:2], other[:2], strict=True))
        assert one[2] == other[2]


def test_reconstructed_windows_repeat_themselves_and_noise_does_not():
    adaptation = adaptation_of()
    noisy = adaptation._support_loss(adaptation.data.support, 0.1).parts[0]
    repeated = adaptation._support_loss(repeating_windows(network()), 0.1).parts[0]
    assert batch_norm.repeats(repeated) and not batch_norm.repeats(noisy)


def norms(adaptation):
    return adaptation.branch.encoder.block2.norm, adaptation.branch.encoder.block3.norm


def test_frozen_statistics_stay_as_they_were_trained():
    adaptation = adaptation_of("finetune.sed.batch_norm=frozen")
    adaptation.step()
    for norm, trained in zip(
        norms(adaptation), (network().encoder.block2.norm, network().encoder.block3.norm), strict=True
    ):
        assert torch.equal(norm.running_mean, trained.running_mean)
        assert torch.equal(norm.running_var, trained.running_var)


def test_recalculated_statistics_are_the_mean_over_the_recordings_chunks_and_stay():
    adaptation = adaptation_of("finetune.sed.batch_norm=recalculated", "finetune.sed.chunk_windows=6")
    recalculated = [norm.running_mean.clone() for norm in norms(adaptation)]
    encoder = network().encoder
    low = torch.cat(
        [
            windows.dense(np.arange(len(windows)))
            for windows in (adaptation.data.support, adaptation.data.query.low)
        ]
    )
    with torch.no_grad():
        means = torch.stack([encoder.block2.conv(chunk).mean((0, 2, 3)) for chunk in low.split(6)])
    assert (recalculated[0] - means.mean(0)).abs().max() < EXACT
    adaptation.step()
    assert all(
        torch.equal(norm.running_mean, was) for norm, was in zip(norms(adaptation), recalculated, strict=True)
    )
    assert all(norm.momentum == 0.1 for norm in norms(adaptation))


def test_half_precision_of_training_windows_is_near_single_precision():
    single, half = adaptation_of(), adaptation_of(half=True)
    value, wanted = (one._backward(one._class_loss(0)) for one in (half, single))
    assert value == pytest.approx(wanted, rel=1e-2) and value != wanted


def test_chunks_hold_every_window_once_in_order_across_parts():
    made = network()
    first, second = (pass_frozen(made, *labelled(n, n), cpu(CONFIG)) for n in (5, 4))
    parts = [
        Part(low, chosen, torch.full((len(chosen), 64), number), torch.tensor(chosen, dtype=torch.float32))
        for number, (low, chosen) in enumerate(((first, np.array([4, 1, 0])), (second, np.arange(4))))
    ]
    pieces = list(chunks(parts, 5))
    assert [len(low) for low, _, _ in pieces] == [5, 2]
    assert torch.cat([weight for _, _, weight in pieces]).tolist() == [4, 1, 0, 0, 1, 2, 3]
    assert torch.cat([labels[:, 0] for _, labels, _ in pieces]).tolist() == [0, 0, 0, 1, 1, 1, 1]
    wanted = torch.cat([first.dense(np.array([4, 1, 0])), second.dense(np.arange(4))])
    assert torch.equal(torch.cat([low for low, _, _ in pieces]), wanted)
    assert list(chunks([], 5)) == []


def test_pseudo_labels_once_are_those_of_their_first_step():
    labels = {}
    for rounds in ("once", "every_step"):
        adaptation = adaptation_of(
            f"finetune.sed.pseudo_labels.rounds={rounds}",
            "finetune.sed.pseudo_labels.margin=0",
            "finetune.sed.head_learning_rate=0.3",
        )
        labels[rounds] = []
        for _ in range(5):
            adaptation.step()
            labels[rounds].append(
                [(part.chosen.tolist(), part.labels.tolist()) for part in adaptation.pseudo or []]
            )
    once, every = labels["once"], labels["every_step"]
    assert once[0] == [] == every[0]  # the first step is before from_step
    assert once[1] == once[2] == once[4] and once[1]
    assert any(every[1] != later for later in every[2:])


def test_the_level_of_pseudo_labels_is_the_one_before_the_step():
    adaptation = adaptation_of()
    adaptation.step()
    level = adaptation.confidence_level()
    adaptation.step()
    assert adaptation.level == level != adaptation.confidence_level()


def levels(*pieces):
    return np.concatenate([np.full(n, p) for n, p in pieces])[None]


def test_pseudo_labels_are_filtered_within_each_window():
    p = np.random.default_rng(0).random((3, 40))
    labels = pseudo_labels(p, 0.6, False, CONFIG)
    for row, own in zip(p, labels, strict=True):
        high = median_filter((row > 0.6).astype(int), 5, mode="nearest") > 0
        low = median_filter((row < 0.4).astype(int), 5, mode="nearest") > 0
        assert own.tolist() == np.where(high, 1, np.where(low, 0, -1)).tolist()


def windows_with(*kinds):
    """Windows that hold frames of these labels, '+' POS and '-' background."""
    return np.array([[1 if "+" in kind else -1, 0 if "-" in kind else -1, -1] for kind in kinds])


@pytest.mark.parametrize(
    ("kinds", "most", "chosen"),
    [
        (("+-", "+-", "-", "-", "-"), 128, [0, 1]),  # the smaller list, once
        (("+", "+", "+", "+-", "-"), 128, [3, 4]),
        (("+", "", "-", "+"), 128, [2]),
        (("+-", "+", "-"), 128, [0, 1]),  # equally many: those that hold POS
        (("+", "+", "+", "-", "-"), 1, [0]),
        (("+",) * 9, 128, [0, 1, 2, 3, 4]),  # none of the other kind: five
        (("", "-", "-"), 128, [1, 2]),
        (("", ""), 128, []),
    ],
)
def test_pseudo_labelled_windows_are_those_of_the_smaller_list(kinds, most, chosen):
    assert choose_windows(windows_with(*kinds), most, np.arange(len(kinds))).tolist() == chosen


def test_pseudo_labelled_windows_follow_the_order_they_are_looked_through():
    order = np.array([3, 1, 0, 2])
    assert choose_windows(windows_with("+-", "+", "-", "+-"), 2, order).tolist() == [3, 1]


def test_cut_training_windows_are_refused_where_statistics_adapt():
    with pytest.raises(FiveshotError, match=r"finetune\.sed\.replay\.crop_frames.*finetune\.sed\.batch_norm"):
        small_config("finetune.sed.replay.crop_frames=32")
    assert small_config("finetune.sed.replay.crop_frames=32", "finetune.sed.batch_norm=frozen")


def test_statistics_can_be_recalculated_twice_with_one_result():
    made, again = adaptation_of(), adaptation_of()
    parts = made._recording()
    for one, times in ((made, 1), (again, 2)):
        for _ in range(times):
            recalculate_statistics(one.branch.encoder, parts, 4)
    assert torch.equal(norms(made)[1].running_var, norms(again)[1].running_var)
