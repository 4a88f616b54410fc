"""The script draws the figures of the system, the same bytes each time."""

import matplotlib as mpl
from matplotlib.image import imread

from picture import draw

NAMES = {"training.png", "sed_branch.png", "te_vad_branch.png"}


def test_the_script_writes_three_small_pngs_into_a_folder_it_makes(tmp_path):
    draw.main(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == NAMES
    for path in (tmp_path / "new").iterdir():
        assert imread(path, format="png").shape[1] == 1620
        assert path.stat().st_size < 250_000


def test_a_figure_is_the_same_under_other_settings_and_changes_none(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    draw.draw_figure("training.png", tmp_path / "a")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        draw.draw_figure("training.png", tmp_path / "b")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "a" / "training.png").read_bytes() == (tmp_path / "b" / "training.png").read_bytes()
