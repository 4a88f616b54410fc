"""The page in a real browser: keys mark, the slider filters, numbers are right, names stay inert."""

import json
import math
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from report_pages import HOSTILE, page, scored, two_recordings

from fiveshot.data.formats.reading import read_tables

webdriver = pytest.importorskip("selenium.webdriver", reason="drives a browser; in requirements-dev.txt")
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = tmp_path_factory.mktemp("downloads")
    behaviour = {"behavior": "allow", "downloadPath": str(driver.downloads)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return page(folder, two_recordings(folder))


def show(browser, path, width=1200, height=900, dark=False):
    """Open the page as new, without marks of earlier tests."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())
    browser.execute_script("localStorage.clear()")
    browser.get(path.as_uri())


@pytest.fixture
def fresh(browser, path):
    show(browser, path)
    return browser


def text(browser, name):
    return browser.find_element("id", name).text


def press(browser, *keys):
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def set_value(browser, name, value):
    script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
    events = "for (const n of ['input', 'change']) e.dispatchEvent(new Event(n, {bubbles: true}))"
    browser.execute_script(script + events, name, str(value))


def items(path):
    """What the page holds, read from its file."""
    page_text = path.read_text(encoding="utf-8")
    start = page_text.index('id="data">') + len('id="data">')
    return json.loads(page_text[start : page_text.index("</script>", start)])["items"]


def listed(path, level=0.0):
    return [i for i in items(path) if i["track"] < 2 and i["kind"] == "detected" and i["conf"] >= level]


def marks_of(browser):
    """The marks that the browser keeps: place in time of each → answer."""
    stored = browser.execute_script("return {...localStorage}")
    (values,) = [json.loads(value) for name, value in stored.items() if name.startswith("fiveshot:")] or [{}]
    return values


def test_it_opens_without_a_word_on_the_console(fresh):
    assert fresh.get_log("browser") == []
    assert text(fresh, "shown") == "70 detections at this confidence, 30 shown"
    assert text(fresh, "card-title").startswith("1 of 30")
    assert fresh.execute_script("return document.querySelector('#card-picture img').naturalWidth") == 320


def test_the_slider_filters_at_once(fresh, path):
    set_value(fresh, "which", "all")
    for level in (0.0, 0.6, 0.9):
        set_value(fresh, "threshold", level)
        actual = fresh.execute_script("return +document.getElementById('threshold').value")
        count = len(listed(path, actual - 1e-9))
        assert text(fresh, "shown") == f"{count} detections at this confidence, {count} shown"
        assert len(fresh.find_elements("css selector", "#list li")) == count
    assert actual == 0.9 and 0 < count < 30


def test_keys_mark_go_on_and_undo(fresh):
    press(fresh, "y", "n", "u")
    assert sorted(marks_of(fresh).values()) == ["no", "unsure", "yes"]
    assert text(fresh, "card-title").startswith("4 of 30")
    assert text(fresh, "progress").startswith("3 of 30")
    press(fresh, "z")
    assert sorted(marks_of(fresh).values()) == ["no", "yes"]
    assert text(fresh, "card-title").startswith("3 of 30")
    press(fresh, "j", "j", "k")
    assert text(fresh, "card-title").startswith("4 of 30")
    fresh.refresh()
    assert sorted(marks_of(fresh).values()) == ["no", "yes"]  # kept in the browser
    assert text(fresh, "progress").startswith("2 of 30")


def test_near_misses_are_shown_on_demand(fresh):
    press(fresh, "m")
    assert text(fresh, "shown") == "70 detections at this confidence, 78 shown"
    near = [e for e in fresh.find_elements("css selector", "#list li") if "near miss" in e.text]
    assert len(near) == 8


def test_what_to_learn_from_is_nearest_to_the_threshold(fresh, path):
    set_value(fresh, "which", "learn")
    assert text(fresh, "shown").endswith(", 30 shown")
    known = [i for i in items(path) if i["track"] < 2]
    nearest = min(known, key=lambda i: abs(i["conf"] - 0.4))
    assert f"confidence {nearest['conf']:.2f}" in text(fresh, "card-title")


def reference_estimate(events):
    """Post-stratified share and Wilson's interval at the effective number of marks, in plain operations.

    `events`: (stratum, answer) of each, answer None where it was not drawn or not decided.
    """
    strata = defaultdict(list)
    for stratum, answer in events:
        strata[stratum].append(answer)
    answers = [a for _, a in events if a is not None]
    pooled = sum(answers) / len(answers)
    smooth = (sum(answers) + 1) / (len(answers) + 2)
    estimate = typical = variance = 0.0
    for every in strata.values():
        marked = [a for a in every if a is not None]
        n, weight = len(marked), len(every) / len(events)
        cautious = (sum(marked) + smooth) / (n + 1)
        estimate += weight * (sum(marked) / n if n else pooled)
        typical += weight * cautious
        variance += weight**2 * cautious * (1 - cautious) / max(n, 1) * (1 - n / len(every))
    if variance == 0:
        return estimate, estimate, estimate
    n, z = typical * (1 - typical) / variance, 1.959964
    centre = (estimate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(estimate * (1 - estimate) / n + z * z / (4 * n * n))
    return estimate, max(centre - half, 0), min(centre + half, 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_precision_and_its_interval_are_those_of_the_formula(fresh, path, seed):
    rng = np.random.default_rng(seed)
    drawn = sorted((i for i in listed(path) if i["place"] >= 0), key=lambda i: i["place"])
    answers = rng.choice(["y", "n", "u"], 30, p=[0.6, 0.3, 0.1])[: (30, 12, 5)[seed]]
    press(fresh, *answers)
    said = {
        (i["track"], i["on"]): {"y": True, "n": False}.get(a) for i, a in zip(drawn, answers, strict=False)
    }
    for level in (0.0, 0.65):
        set_value(fresh, "threshold", level)
        above = [i for i in listed(path, level) if i["conf"] >= level]
        estimate, low, high = reference_estimate(
            [(i["stratum"], said.get((i["track"], i["on"]))) for i in above]
        )
        assert text(fresh, "precision") == f"{math.floor(100 * estimate + 0.5)} %"
        shown = f"95 % interval {math.floor(100 * low + 0.5)} % to {math.floor(100 * high + 0.5)} %"
        assert shown in text(fresh, "interval")


def test_the_interval_holds_the_truth_nineteen_times_of_twenty():
    rng, inside = np.random.default_rng(3), 0
    for _ in range(1000):
        count = int(rng.integers(60, 600))
        confidence = np.sort(rng.random(count))
        right = rng.random(count) < np.clip(confidence + rng.uniform(-0.4, 0.4), 0, 1)
        stratum = np.repeat(np.arange(6), -(-count // 6))[:count]
        answers = [None] * count
        for number in range(6):
            members = np.flatnonzero(stratum == number)
            for event in rng.permutation(members)[:5]:
                answers[event] = bool(right[event])
        _, low, high = reference_estimate(list(zip(stratum, answers, strict=True)))
        inside += low <= right.mean() <= high
    assert 930 <= inside <= 990


def test_a_confidence_for_a_wanted_precision_is_found_and_set(fresh, path):
    drawn = sorted((i for i in listed(path) if i["place"] >= 0), key=lambda i: i["place"])
    press(fresh, *("y" if i["conf"] > 0.7 else "n" for i in drawn))
    set_value(fresh, "wanted", 95)
    fresh.find_element("id", "apply").click()
    actual = fresh.execute_script("return +document.getElementById('threshold').value")
    assert 0.6 < actual < 0.75 and int(text(fresh, "precision").split()[0]) >= 90


def saved(browser, name, suffix):
    for old in browser.downloads.iterdir():
        old.unlink()
    browser.find_element("id", name).send_keys(webdriver.Keys.ENTER)
    WebDriverWait(browser, 20).until(
        lambda _: any(p.name.endswith(suffix) for p in browser.downloads.iterdir())
    )
    (path,) = browser.downloads.iterdir()
    return path


def test_exports_hold_the_marks_and_our_readers_take_them(fresh, path):
    drawn = sorted((i for i in listed(path) if i["place"] >= 0), key=lambda i: i["place"])[:6]
    press(fresh, "y", "n", "u", "y", "n", "y")
    said = ["POS", "NEG", "UNK", "POS", "NEG", "POS"]
    expected = {
        f"recording{track + 1}.flac": sorted(
            (i["on"], s) for i, s in zip(drawn, said, strict=True) if i["track"] == track
        )
        for track in {i["track"] for i in drawn}
    }
    for name, suffix in (("export-csv", "marks.csv"), ("export-raven", "marks.selections.txt")):
        tables = read_tables(saved(fresh, name, suffix))
        rows = {file: list(zip(e.onset_s.tolist(), e.value, strict=True)) for file, e in tables.items()}
        assert rows == expected
        assert {label for e in tables.values() for label in e.label} == {HOSTILE}
    shown = fresh.execute_script("return +document.getElementById('track').value")
    (events,) = read_tables(saved(fresh, "export-audacity", "marks.labels.txt")).values()
    assert (
        list(zip(events.onset_s.tolist(), events.value, strict=True))
        == expected[f"recording{shown + 1}.flac"]
    )


def test_hostile_names_stay_inert(fresh):
    set_value(fresh, "which", "all")
    set_value(fresh, "recording", HOSTILE)
    press(fresh, "y", "j", "n")
    assert fresh.execute_script("return window.hacked") is None
    assert fresh.find_elements("css selector", "b b, img[src='x'], h1 img, option b") == []
    assert HOSTILE in text(fresh, "card-title")
    assert fresh.get_log("browser") == []


def test_the_keyboard_alone_is_enough(fresh):
    keys = webdriver.Keys
    press(fresh, keys.TAB)
    assert fresh.switch_to.active_element.text == "Skip to the review"
    seen = set()
    for _ in range(60):
        press(fresh, keys.TAB)
        seen.add(fresh.switch_to.active_element.get_attribute("id"))
    assert {"label", "which", "threshold", "play", "yes", "no", "unsure", "undo", "wanted"} <= seen
    fresh.find_element("id", "no").send_keys(keys.ENTER)
    assert list(marks_of(fresh).values()) == ["no"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 360])
def test_it_fits_the_screen_and_axe_finds_nothing(browser, path, width, dark, tmp_path):
    axe = pytest.importorskip("axe_selenium_python", reason="checks accessibility; in requirements-dev.txt")
    for target in (path, scored(tmp_path)):
        show(browser, target, width, dark=dark)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        press(browser, "y", "n")
        check = axe.Axe(browser)
        check.inject()
        found = check.run()["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []


def test_a_scored_run_shows_its_misses_first(browser, tmp_path):
    show(browser, scored(tmp_path))
    assert browser.get_log("browser") == []
    first = [e.text for e in browser.find_elements("css selector", "#list li")[:3]]
    assert ["missed" in row for row in first] == [True, True, False]
    set_value(browser, "which", "wrong")
    assert text(browser, "shown").endswith("4 shown")
    assert Path(tmp_path / "report.html").is_file()
