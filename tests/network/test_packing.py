"""Steps packed into rows: nothing lost, nothing mixed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.network.packing import Stretches


@st.composite
def taken_steps(draw):
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@given(taken=taken_steps(), before=st.integers(0, 3), after=st.integers(0, 3))
def test_every_taken_step_lies_among_the_neighbours_that_it_has_in_its_window(taken, before, after):
    made = Stretches(taken, before, after)
    steps = taken.shape[1]
    values = 1 + np.arange(taken.size).reshape(taken.shape)
    laid, inside = made.lay(values), made.inside
    assert laid.shape == inside.shape == (made.rows, made.length)
    assert np.array_equal(inside > 0, laid > 0)
    for window, step in zip(*np.nonzero(taken), strict=True):
        row, column = divmod(int(made.place[window, step]), made.length)
        for shift in range(-before, after + 1):
            beyond = not 0 <= step + shift < steps
            assert 0 <= column + shift < made.length
            assert laid[row, column + shift] == (0 if beyond else values[window, step + shift])


@given(taken=taken_steps(), before=st.integers(0, 3))
def test_behind_the_last_stretch_of_a_row_there_is_room(taken, before):
    made = Stretches(taken, before, 0)
    assert not made.inside[:, made.length - before :].any()


@given(taken=taken_steps(), before=st.integers(0, 3), after=st.integers(0, 3))
def test_rows_are_no_more_than_the_windows_and_positions_are_used_once(taken, before, after):
    made = Stretches(taken, before, after)
    assert 1 <= made.rows <= max(1, len(taken))
    assert len(set(made.position.tolist())) == len(made.position) == len(made.window) == len(made.step)


def test_short_stretches_fill_up_the_rows_of_long_ones():
    taken = np.zeros((40, 20), bool)
    for row in range(40):
        taken[row, : 13 if row < 10 else 1] = True
    made = Stretches(taken, 1, 1)
    assert made.rows == 12  # ten of them hold a long stretch and two short ones, two the other short ones


def test_nothing_taken_is_one_empty_row():
    made = Stretches(np.zeros((3, 5), bool), 2, 2)
    assert made.rows == 1 and not made.inside.any()
