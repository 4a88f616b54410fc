"""The picture of the report in docs/biologist.md: `python picture/report.py REPORT.html`, needs chromium.

Answers the first events of the page by its keys, as a reviewer does, and writes report.png beside this file.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver

SIZE = {"width": 1180, "height": 860, "deviceScaleFactor": 1, "mobile": False}
ANSWERS = "yyyyyyuyyyyy"


def main(page: Path, target: Path) -> None:
    """Open the page, answer, and write what the screen shows from the review on."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(word)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
        browser.get(page.resolve().as_uri())
        for answer in ANSWERS:
            browser.switch_to.active_element.send_keys(answer)
        browser.execute_script("document.getElementById('review').scrollIntoView({behavior: 'instant'})")
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
        picture.convert("RGB").quantize(64).save(target, optimize=True)
    finally:
        browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("report.png"))
