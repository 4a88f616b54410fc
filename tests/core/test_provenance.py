"""Provenance: equal values are equal, differences are named, renamed keys are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveshot.core.provenance import Provenance, fingerprint

DIGEST, OTHER = "0" * 64, "1" * 64


@given(st.dictionaries(st.text(), st.integers()), st.text(), st.integers())
def test_fingerprints_are_equal_exactly_for_equal_values(value, key, number):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))
    changed = {**value, key: number}
    assert (fingerprint(changed) == fingerprint(value)) == (changed == value)


def test_differences_are_named_in_the_order_of_names_and_digests_are_not_shown():
    before = Provenance({"train": {"epochs": 6}, "audio": DIGEST, "shots": 5, "gone": 1})
    now = Provenance({"train": {"epochs": 8}, "audio": OTHER, "shots": 5, "new": True})
    assert before.differences(now) == [
        "audio changed",
        "gone was 1, is unset",
        "new was unset, is True",
        "train.epochs was 6, is 8",
    ]
    assert before.differences(before) == []


def test_groups_and_full_names_are_the_same():
    grouped = Provenance({"windows": {"frames": 431, "hop_frames": 86}})
    assert grouped.differences(Provenance({"windows.hop_frames": 86, "windows.frames": 431})) == []


def test_a_renamed_key_is_no_difference_and_its_value_is_compared():
    before = Provenance({"labels": {"widen_s": 0.025}, "finetune.sed": {"pseudo_windows": 8}})
    now = {"labels.event_padding_s": 0.025, "finetune.sed": {"pseudo_labels": {"windows": 8}}}
    assert before.differences(Provenance(now)) == []
    now["labels.event_padding_s"] = 0.5
    assert before.differences(Provenance(now)) == ["labels.event_padding_s was 0.025, is 0.5"]


def test_json_keeps_the_values_and_their_digest():
    before = Provenance({"seed": 3, "detect": {"minimum": 0.5}, "audio": DIGEST})
    again = Provenance.from_json(before.to_json())
    assert again == before and again.digest == before.digest == fingerprint(before.values)
    assert before.digest != Provenance({"seed": 4}).digest


@pytest.mark.parametrize("text", ["[1]", "3", "{", ""])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError):
        Provenance.from_json(text)


def test_values_that_do_not_count_can_be_left_out():
    before = Provenance({"detect.median_frames": 3, "seed": 1})
    assert (
        before.without("detect").differences(
            Provenance({"seed": 1, "finetune.sed.pseudo_labels.median_frames": 3})
        )
        == []
    )
