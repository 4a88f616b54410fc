"""Steps packed into rows: nothing lost, nothing mixed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.network.packing import PackedSteps


@st.composite
def wanted_steps(draw):
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@given(wanted=wanted_steps(), before=st.integers(0, 3), after=st.integers(0, 3))
def test_every_wanted_step_lies_among_the_neighbours_that_it_has_in_its_window(wanted, before, after):
    packed = PackedSteps(wanted, before, after)
    steps = wanted.shape[1]
    values = 1 + np.arange(wanted.size).reshape(wanted.shape)
    rows, inside = packed.pack(values), packed.inside
    assert rows.shape == inside.shape == (packed.n_rows, packed.row_length)
    assert np.array_equal(inside > 0, rows > 0)
    for window, step in zip(*np.nonzero(wanted), strict=True):
        row, column = divmod(int(packed.position_of[window, step]), packed.row_length)
        for shift in range(-before, after + 1):
            beyond = not 0 <= step + shift < steps
            assert 0 <= column + shift < packed.row_length
            assert rows[row, column + shift] == (0 if beyond else values[window, step + shift])


@given(wanted=wanted_steps(), before=st.integers(0, 3))
def test_behind_the_last_run_of_a_row_there_is_room(wanted, before):
    packed = PackedSteps(wanted, before, 0)
    assert not packed.inside[:, packed.row_length - before :].any()


@given(wanted=wanted_steps(), before=st.integers(0, 3), after=st.integers(0, 3))
def test_rows_are_no_more_than_the_windows_and_positions_are_used_once(wanted, before, after):
    packed = PackedSteps(wanted, before, after)
    assert 1 <= packed.n_rows <= max(1, len(wanted))
    assert (
        len(set(packed.position.tolist())) == len(packed.position) == len(packed.window) == len(packed.step)
    )


def test_short_runs_fill_up_the_rows_of_long_ones():
    wanted = np.zeros((40, 20), bool)
    for row in range(40):
        wanted[row, : 13 if row < 10 else 1] = True
    packed = PackedSteps(wanted, 1, 1)
    assert packed.n_rows == 12  # ten of them hold a long run and two short ones, two the other short ones


def test_nothing_wanted_is_one_empty_row():
    packed = PackedSteps(np.zeros((3, 5), bool), 2, 2)
    assert packed.n_rows == 1 and not packed.inside.any()
