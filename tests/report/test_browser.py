"""The report in a real browser: headless Chromium, driven by Selenium."""

import json
import shutil
import time

import pytest

from glualign.report.alignment import build_report
from tests.report.fakes import fake_alignment

pytest.importorskip("jinja2", reason="the report needs: pip install 'glualign[report]'")
webdriver = pytest.importorskip("selenium.webdriver", reason="browser tests need: pip install selenium")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="browser tests need Chromium and its driver: apt-get install chromium chromium-driver",
    ),
]
NOW = "document.getElementById('slider').getAttribute('aria-valuenow')"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "my report.html"
    build_report(fake_alignment(), path, command="glualign report a b")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1200,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(chromium, page):
    """The browser with the report open; afterwards nothing may have gone wrong in it."""
    for log in ("browser", "performance"):
        chromium.get_log(log)
    chromium.get(page.as_uri())
    wait_until(chromium, "return document.readyState === 'complete'")
    yield chromium
    assert chromium.get_log("browser") == [], "console messages"
    # chrome: and devtools: are the browser's own pages, such as the empty tab it starts with.
    outside = [
        url for url in requested(chromium) if not url.startswith(("file:", "data:", "chrome:", "devtools:"))
    ]
    assert outside == []


def requested(driver):
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def wait_until(driver, script, timeout=20):
    deadline = time.monotonic() + timeout
    while not driver.execute_script(script):
        assert time.monotonic() < deadline, script
        time.sleep(0.05)


def by_id(driver, name):
    return driver.find_element("id", name)


def value(driver):
    return int(by_id(driver, "slider").get_attribute("aria-valuenow"))


def choose(driver, name, option):
    driver.execute_script(f"document.querySelector('input[name={name}][value={option}]').click()")


def visible(driver):
    """The alternative texts of the pictures on the stage that can be seen."""
    script = """return [...document.querySelectorAll('.stage img')]
        .filter(image => getComputedStyle(image).visibility === 'visible').map(image => image.alt)"""
    return driver.execute_script(script)


def test_all_pictures_load(opened):
    opened.execute_script("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    wait_until(opened, "return [...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_the_slider_moves_by_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    slider = by_id(opened, "slider")
    assert slider.get_attribute("role") == "slider"
    assert value(opened) == 50
    for key, expected in (
        (Keys.ARROW_RIGHT, 52),
        (Keys.ARROW_LEFT, 50),
        (Keys.PAGE_UP, 60),
        (Keys.PAGE_DOWN, 50),
        (Keys.END, 100),
        (Keys.ARROW_RIGHT, 100),
        (Keys.HOME, 0),
        (Keys.SHIFT + Keys.ARROW_RIGHT, 10),
    ):
        slider.send_keys(key)
        assert value(opened) == expected, key
    assert slider.get_attribute("aria-valuetext") == "10 % source"
    shown = opened.execute_script("return getComputedStyle(document.querySelector('.over.after')).clipPath")
    assert "90%" in shown


def test_the_slider_can_be_reached_by_tab(opened):
    from selenium.webdriver.common.keys import Keys

    body = opened.find_element("tag name", "body")
    for _ in range(8):
        body.send_keys(Keys.TAB)
        if opened.switch_to.active_element.get_attribute("role") == "slider":
            return
    pytest.fail("the Tab key does not lead to the slider")


@pytest.mark.parametrize("kind", ["mouse", "touch"])
def test_the_slider_follows_the_pointer(opened, kind):
    left, top, width, height = opened.execute_script(
        "const stage = document.getElementById('stage'); stage.scrollIntoView({block: 'center'});"
        "const box = stage.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]"
    )

    def pointer(action, share):
        at = {"x": left + share * width, "y": top + height / 2}
        if kind == "mouse":
            name = {"down": "mousePressed", "move": "mouseMoved", "up": "mouseReleased"}[action]
            button = {"button": "left", "buttons": 0 if action == "up" else 1, "clickCount": 1}
            opened.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": name, **at, **button})
        else:
            name = {"down": "touchStart", "move": "touchMove", "up": "touchEnd"}[action]
            points = [] if action == "up" else [at]
            opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": name, "touchPoints": points})

    for action, share in (("down", 0.3), ("move", 0.5), ("move", 0.8)):
        pointer(action, share)
        wait_until(opened, f"return Math.abs({NOW} - {100 * share}) <= 1")
    pointer("up", 0.8)
    if kind == "mouse":  # once released, the pointer moves on alone
        pointer("move", 0.1)
    assert value(opened) == pytest.approx(80, abs=1)


def test_flicker_swaps_both_images_and_pauses(opened):
    choose(opened, "view", "flicker")
    assert not by_id(opened, "slider").is_displayed()
    seen = set()
    deadline = time.monotonic() + 10
    while len(seen) < 2 and time.monotonic() < deadline:
        seen.add(tuple(visible(opened)))
        time.sleep(0.1)
    assert len(seen) == 2
    by_id(opened, "play").click()
    assert by_id(opened, "play").text == "Play"
    held = visible(opened)
    time.sleep(1.6)
    assert visible(opened) == held
    by_id(opened, "stage").click()
    assert visible(opened) != held, "paused, a tap shows the other image"


def test_difference_and_the_source_as_it_was(opened):
    choose(opened, "view", "difference")
    assert "Difference of target and warped source" in visible(opened)
    choose(opened, "state", "before")
    assert "Difference of target and source as it was" in visible(opened)
    choose(opened, "view", "slider")
    assert any(name.startswith("Source as it was") for name in visible(opened))
    assert by_id(opened, "slider").is_displayed()


def test_a_map_is_enlarged_on_demand(opened):
    button = opened.find_element("css selector", ".zoom")
    before = button.size["width"]
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert button.size["width"] > 1.5 * before


@pytest.mark.parametrize("width", [320, 390, 768, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(opened, width, scheme):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
        ink, paper = opened.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
        lightness = [sum(map(int, color[4:-1].split(","))) for color in (ink, paper)]
        assert (lightness[0] < lightness[1]) == (scheme == "light")
        assert abs(lightness[0] - lightness[1]) > 450
        for target in opened.find_elements("css selector", ".controls label span, .controls button"):
            if target.is_displayed():
                assert target.size["height"] >= 40, "too small for a finger"
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
