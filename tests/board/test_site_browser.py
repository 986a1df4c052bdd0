"""The site in a real browser: headless Chromium through its own driver. Skipped where there is none, but for CI."""

import os
import shutil

import pytest
from board_factory import Factory

from harness.board import site
from harness.records.store import Store

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(
    os.environ.get("GITHUB_ACTIONS") != "true" and not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no Chromium with its driver here (Debian, Ubuntu: apt-get install chromium chromium-driver)",
)

GOOD, FRESH = (0.031, 0.027), (0.03, 0.021, 0.02, 0.025)
LONG = "An idea whose title goes on and on, as titles do " * 2
PAGES = ("index.html", "board/llm-tiny-smoke.html", "submissions/gate.html", "noise.html", "rules.html", "data.html")
WIDTHS = (360, 800, 1440)
AA, AA_LARGE = 4.5, 3.0

# Text with its colour and that of the nearest background; what nobody sees is left out.
TEXTS = """
const seen = [];
const parse = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].filter((node) => node.nodeType === 3 && node.textContent.trim());
  const box = element.getBoundingClientRect();
  if (!own.length || box.width < 2 || box.height < 2 || element.closest("title, .skip, script")) continue;
  const style = getComputedStyle(element);
  let below = element, background = [0, 0, 0, 0];
  while (below && (background[3] === 0)) {
    background = parse(getComputedStyle(below).backgroundColor);
    if (background.length === 3) background.push(1);
    below = below.parentElement;
  }
  const colour = parse(element.closest("svg") ? style.fill : style.color);
  const large = parseFloat(style.fontSize) >= 24;
  seen.push([own[0].textContent.trim().slice(0, 40), colour, background, large]);
}
return seen;
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the rendered site lies, with a record, a stale one, attempts, a long title and a patch."""
    root = tmp_path_factory.mktemp("clone")
    (root / "submissions" / "gate").mkdir(parents=True)
    (root / "model_core").mkdir()
    lines = "\n".join(["@@ -1,1 +1,2 @@", " x = 1", f"+y = '{'wide' * 60}'  # not None"])
    head = "diff --git a/model_core/lm.py b/model_core/lm.py\n--- a/model_core/lm.py\n+++ b/model_core/lm.py\n"
    (root / "submissions" / "gate" / "patch.diff").write_text(head + lines + "\n")
    factory = Factory(Store(root / "leaderboard"))
    factory.calibration()
    factory.evaluation("gate", (0.012, 0.007, 0.014, 0.009), (0.011, 0.009, 0.012, 0.008), title=LONG)
    factory.evaluation("better", GOOD, FRESH, faster=0.05)
    factory.evaluation("leaky", (0.3, 0.3), status="refused", authors=("Grace" * 12,))
    factory.evaluation("worse", (-0.03, -0.03))
    return site.write(factory.store).index.parent.as_uri()


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def size(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def scheme(browser, name):
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def luminance(colour):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(front, back):
    """As WCAG 2.2 defines it."""
    light, dark = sorted((luminance([part / 255 for part in colour[:3]]) for colour in (front, back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_every_width_reads_well_in_both_schemes_and_complains_of_nothing(browser, address, page):
    browser.get(f"{address}/{page}")
    for width in WIDTHS:
        size(browser, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for name in ("light", "dark"):
        scheme(browser, name)
        seen = browser.execute_script(TEXTS)
        weak = [
            (text, round(contrast(colour, background), 2))
            for text, colour, background, large in seen
            if contrast(colour, background) < (AA_LARGE if large else AA)
        ]
        assert len(seen) > 15 and weak == [], name
    assert browser.get_log("browser") == []


def test_light_and_dark_differ(browser, address):
    browser.get(f"{address}/index.html")
    colours = []
    for name in ("light", "dark"):
        scheme(browser, name)
        colours.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


def gains(browser):
    cells = "document.querySelectorAll('table.sortable')[0].tBodies[0].rows"
    return browser.execute_script(f"return [...{cells}].map((row) => row.cells[2].dataset.value)")


def test_columns_are_sorted_by_click_and_by_keyboard(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    size(browser, 1440)
    browser.get(f"{address}/board/llm-tiny-smoke.html")
    first = gains(browser)
    assert first == sorted(first, key=float, reverse=True) and len(first) == 2
    head = browser.find_element(By.XPATH, "//th[.//button[text()='gain']]")
    head.find_element(By.TAG_NAME, "button").click()
    assert gains(browser) == first[::-1] and head.get_attribute("aria-sort") == "ascending"
    other = browser.find_element(By.XPATH, "//th[.//button[text()='idea']]")
    button = other.find_element(By.TAG_NAME, "button")
    browser.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    assert other.get_attribute("aria-sort") == "ascending" and head.get_attribute("aria-sort") is None
    assert gains(browser) == first[::-1]  # "An idea ..." before "better"
    button.send_keys(Keys.SPACE)
    assert other.get_attribute("aria-sort") == "descending" and gains(browser) == first
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", button) == "solid"


def test_what_is_missing_comes_last_in_both_directions(browser, address):
    from selenium.webdriver.common.by import By

    browser.get(f"{address}/board/llm-tiny-smoke.html")
    table = browser.find_element(By.XPATH, "//table[caption[contains(., 'became no record on today')]]")
    head = table.find_element(By.XPATH, ".//th[.//button[text()='gain']]")
    for direction in ("ascending", "descending"):
        head.find_element(By.TAG_NAME, "button").click()
        assert head.get_attribute("aria-sort") == direction
        last = table.find_elements(By.CSS_SELECTOR, "tbody tr")[-1]
        assert "leaky" in last.text


def test_the_first_tab_leads_past_the_navigation(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.get(f"{address}/index.html")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = browser.switch_to.active_element
    assert link.text == "Skip to the content" and link.rect["x"] >= 0
    link.send_keys(Keys.ENTER)
    assert browser.current_url.endswith("#main")


def test_without_javascript_every_row_is_there(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{address}/board/llm-tiny-smoke.html")
        tree = browser.execute_cdp_cmd("DOM.getDocument", {"depth": -1})["root"]
        found = browser.execute_cdp_cmd("DOM.querySelectorAll", {"nodeId": tree["nodeId"], "selector": "tbody tr"})
        buttons = browser.execute_cdp_cmd("DOM.querySelectorAll", {"nodeId": tree["nodeId"], "selector": "button"})
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(found["nodeIds"]) == 4 and buttons["nodeIds"] == []
