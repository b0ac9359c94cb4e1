"""Take the picture of the report that the documentation shows: a desktop in light, a phone in dark colours.

    python docs/images/take_screenshot.py build/pictures/report.html

Needs Chromium with its driver.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from selenium import webdriver

SURROUND, GAP, HEIGHT = 140, 24, 960


def screenshot(page: Path, width: int, scheme: str) -> npt.NDArray[np.uint8]:
    """The top of a page in a window of that width, as BGR."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1"):
        options.add_argument(argument)
    # Naming the driver keeps selenium from looking for one on the network.
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get(page.resolve().as_uri())
        browser.implicitly_wait(2)
        picture = cv2.imdecode(np.frombuffer(browser.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(picture[:HEIGHT, :width], np.uint8)


def main() -> None:
    """Put both screenshots on one grey sheet beside this script."""
    page = Path(sys.argv[1])
    windows = [screenshot(page, 960, "light"), screenshot(page, 340, "dark")]
    width = sum(window.shape[1] for window in windows) + GAP * 3
    sheet = np.full((HEIGHT + 2 * GAP, width, 3), SURROUND, np.uint8)
    left = GAP
    for window in windows:
        height, wide = window.shape[:2]
        sheet[GAP : GAP + height, left : left + wide] = window
        left += wide + GAP
    cv2.imwrite(str(Path(__file__).with_name("report.jpg")), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
