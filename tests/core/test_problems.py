"""Leaving a bad recording out, or stopping at it."""

from pathlib import Path

import pytest

from fiveshot.core.errors import FiveshotError, Problems, WriteError

A, B = Path("a.wav"), Path("b.wav")


def test_a_bad_recording_is_left_out_and_the_others_go_on():
    problems, done = Problems(), []
    for path in (A, B):
        with problems.skip(path):
            if path == A:
                raise FiveshotError("a.wav: no samples.")
            done.append(path)
    assert done == [B]
    assert [str(problem) for problem in problems] == ["a.wav: no samples."]


def test_strict_raises_the_first_one_as_it_is():
    with pytest.raises(FiveshotError, match=r"^a\.wav: no samples\.$"), Problems(strict=True).skip(A):
        raise FiveshotError("a.wav: no samples.")
    with pytest.raises(FiveshotError, match=r"a\.wav: no samples\. \(stopped by --strict\)"):
        Problems(strict=True).add(A, "no samples.")


@pytest.mark.parametrize("error", [WriteError("disk full."), ZeroDivisionError()])
def test_what_no_other_recording_would_survive_is_raised(error):
    problems = Problems()
    with pytest.raises(type(error)), problems.skip(A):
        raise error
    assert not problems


def test_the_path_is_named_once():
    problems = Problems()
    problems.add(A, "a.wav: no samples.")
    problems.add(B, "no samples.")
    assert [str(problem) for problem in problems] == ["a.wav: no samples.", "b.wav: no samples."]
