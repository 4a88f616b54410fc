"""The page as text: all of it in one file, escaped, small, the same each time, with what it promises."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from report_pages import HOSTILE, page, scored, track, two_recordings

from fiveshot.report import page as page_module


class Tags(HTMLParser):
    """Every tag with its attributes, and the text of scripts by id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._open = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        if tag == "script":
            self._open = values.get("id", "code")

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = None

    def handle_data(self, text):
        if self._open:
            self.scripts[self._open] = self.scripts.get(self._open, "") + text


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return page(folder, two_recordings(folder)).read_text(encoding="utf-8")


def test_names_are_never_tags(text):
    parsed = Tags(text)
    assert not [values for tag, values in parsed.tags if tag == "img" or "onerror" in values]
    assert len([tag for tag, _ in parsed.tags if tag == "script"]) == len(parsed.scripts)
    data = json.loads(parsed.scripts["data"])
    assert data["tracks"][1]["name"] == HOSTILE and HOSTILE not in text
    assert "{{7*7}}" in text and "49}" not in text


def test_nothing_is_fetched_from_anywhere(text):
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    assert "http:" not in text and "https:" not in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_equal_contents_give_equal_bytes(text, tmp_path):
    assert page(tmp_path, two_recordings(tmp_path)).read_text(encoding="utf-8") == text


def test_every_detection_and_near_miss_is_in_it(text):
    data = json.loads(Tags(text).scripts["data"])
    kinds = [(item["track"], item["kind"]) for item in data["items"]]
    for number, count in enumerate((40, 30, 5)):
        assert kinds.count((number, "detected")) == count and kinds.count((number, "near miss")) == 4
    places = [item["place"] for item in data["items"] if item["track"] < 2 and item["kind"] == "detected"]
    assert sorted(place for place in places if place >= 0) == list(range(30))


def test_five_hundred_detections_fit_and_more_have_no_pictures(tmp_path, monkeypatch):
    tracks = [track(tmp_path, f"r{number}", "owl", 100, number, near=0) for number in range(6)]
    path = page(tmp_path, tracks)
    scripts = Tags(path.read_text(encoding="utf-8")).scripts
    assert sum(name.startswith("p") for name in scripts) == page_module.WITH_MEDIA == 500
    assert path.stat().st_size < 15_000_000
    items = json.loads(scripts["data"])["items"]
    drawn = [number for number, item in enumerate(items) if item["place"] >= 0]
    assert len(drawn) == 30 and all(f"p{number}" in scripts for number in drawn)
    without = [item["conf"] for number, item in enumerate(items) if f"p{number}" not in scripts]
    assert np.mean(without) < 0.55


def test_a_recording_that_is_gone_leaves_the_rest(tmp_path):
    tracks = two_recordings(tmp_path)
    tracks[0].audio.unlink()
    scripts = Tags(page(tmp_path, tracks).read_text(encoding="utf-8")).scripts
    assert {f"p{number}" in scripts for number in range(44)} == {False} and "p44" in scripts


def test_scores_and_misses_are_in_it(tmp_path):
    text = scored(tmp_path).read_text(encoding="utf-8")
    data = json.loads(Tags(text).scripts["data"])
    assert [item["verdict"] for item in data["items"]].count("missed") == 2
    assert "66.7" in text and data["curve"] == [[0.4, 0.6, 0.75], [0.9, 1.0, 0.1]]
