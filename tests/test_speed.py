"""The measurements run, and their two ways to the same numbers agree."""

import json
import time

import pytest
from fake_cuda import fake_cuda
from small import small_config

from bench import speed
from bench.speed import speed_large, speed_parts, speed_step, speed_training, speed_whole
from fiveshot.core.compute import choose_backend

pytestmark = pytest.mark.slow

SAME = 1e-4
LARGE = {"EVENTS": 60, "FILES": 8, "SEARCHED": 1, "SUBSETS": 2}
TINY = {
    "HOURS": 2,
    "LONG_MINUTES": 1,
    "LONG_RATE": 22050,
    "FILES": 2,
    "FILE_MINUTES": 0.5,
    "FILE_RATE": 22050,
}


@pytest.fixture
def quick(monkeypatch):
    """Each piece of work once, on recordings of seconds."""

    def once(self, work, *_, **__):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    monkeypatch.setattr(speed.Bench, "seconds", once)
    for module in (speed_parts, speed_step, speed_whole):
        monkeypatch.setattr(module, "MINUTE_S", 25.0)
    for module in (speed_parts, speed_whole):
        monkeypatch.setattr(module, "CLASSES", 3)
    for name, value in TINY.items():
        monkeypatch.setattr(speed_whole, name, value)
    for name, value in LARGE.items():
        monkeypatch.setattr(speed_large, name, value)


# The metric has a test of its own below; ten hours are two hours with other numbers.
@pytest.mark.parametrize("name", [name for name in speed.ROWS if name not in ("metric", "ten_hours")])
def test_a_row_measures_and_both_ways_agree(quick, name):
    row = speed.measure(name, small_config())
    assert row["s"] > 0 and row["peak_memory_mb"] > 0
    assert row.get("difference", 0.0) < SAME


@pytest.mark.parametrize("changes", [(), ("support_as_class=false", "reduction=mean")])
@pytest.mark.parametrize("frames", [32, 64])
def test_the_published_step_is_the_configured_one_with_frozen_statistics_too(quick, changes, frames):
    changes = ("batch_norm=frozen", f"replay.crop_frames={frames}", *changes)
    row = speed.measure("sed_step", small_config(*(f"finetune.sed.{change}" for change in changes)))
    assert row["difference"] < SAME and "frozen_s" not in row


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("network.te_vad=bilstm",),
        ("network.te_vad=none", "detect.methods=[sed]"),
        ("network.te_vad_resolution=step", "network.enrolment_pooling=time_and_mel"),
        ("network.frames_per_step=1",),
        ("network.frames_per_step=2", "features.kind=both"),
    ],
)
def test_a_training_step_has_the_losses_and_gradients_of_plain_operations(changes):
    config = small_config(*changes)
    row = speed_training.compared_values(speed.Bench(config, choose_backend(config.compute)))
    assert row["difference"] < SAME and row["gradient_difference"] < SAME


ON_THE_DEVICE = (
    "training_step",
    "training_parts",
    "training_plain",
    "training_corpus",
    "sed_branch",
    "sed_step",
    "te_vad_branch",
    "strips",
    "heads_on_steps",
    "query_pass",
)


@pytest.mark.filterwarnings("ignore:'pin_memory'")
@pytest.mark.parametrize("name", ON_THE_DEVICE)
def test_a_row_runs_on_a_gpu(quick, monkeypatch, name):
    monkeypatch.setattr(speed_whole, "STEPS_ON_GPU", 2)
    config = small_config("compute.device=cuda", "compute.workers=1")
    with fake_cuda(monkeypatch):
        row = speed.measure(name, config)
    assert row["s"] > 0 and row.get("difference", 0.0) < SAME


def test_the_table_is_written_with_the_machine_it_belongs_to(tmp_path, capfd):
    out = tmp_path / "speed.json"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{speed.BEGIN}\nold\n{speed.END}\nafter\n", encoding="utf-8")
    made = speed.arguments().parse_args(["--only", "metric", "--out", str(out), "--markdown", str(page)])
    assert speed.main(made) == 0
    before, _, *table, _, after = page.read_text(encoding="utf-8").splitlines()
    assert (before, after) == ("before", "after") and "old" not in table
    assert sum(line.startswith("| ") for line in table) == 1 + len(
        json.loads(out.read_text())["rows"]["metric"]
    )
    written = json.loads(out.read_text())
    assert written["rows"]["metric"]["s"] > 0 and written["torch"] and written["date"]
    assert "metric" in capfd.readouterr().out
