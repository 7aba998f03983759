"""The page to write on, in a real browser: strokes by mouse and finger, answers as one writes."""

import shutil
import threading
import time

import pytest
from toy_model import LINES, write_toy_model

from classifier.onnx import load_onnx
from classifier.serve.app import Service, create_app
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from classifier.serve.server import Server

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service as Driver  # noqa: E402  after the check
from selenium.webdriver.common.by import By  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver here (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    onnx = write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")
    service = Service(load_onnx(onnx), Limits(deadline_s=10), Metrics())
    server = Server(create_app(service), "127.0.0.1", 0, Limits(), grace_s=5)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server.url
    server.stop()
    thread.join(30)


def _browser(mobile: bool):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1000,800")
    if mobile:
        metrics = {"width": 390, "height": 844, "pixelRatio": 2.0, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Driver(DRIVER))


@pytest.fixture(scope="module", params=["mouse", "finger"])
def page(request, url):
    browser = _browser(request.param == "finger")
    browser.pointer = request.param
    browser.get(url)
    yield browser
    errors = [x for x in browser.get_log("browser") if x["level"] == "SEVERE"]
    browser.quit()
    assert errors == []


def write(page, strokes) -> None:
    """Real input events of the browser, not calls of the page's functions."""
    box = page.find_element(By.ID, "paper").rect

    def at(x: float, y: float) -> dict:
        return {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}

    for x0, y0, x1, y1 in strokes:
        path = [at(x0 + (x1 - x0) * t / 6, y0 + (y1 - y0) * t / 6) for t in range(7)]
        if page.pointer == "finger":
            for kind, point in [
                ("touchStart", path[0]), *(("touchMove", p) for p in path[1:]), ("touchEnd", None)
            ]:  # fmt: skip
                event = {"type": kind, "touchPoints": [point] if point else []}
                page.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        else:
            held = {"button": "left", "buttons": 1, "clickCount": 1}
            steps = [("mousePressed", path[0]), *(("mouseMoved", p) for p in path[1:])]
            for kind, point in [*steps, ("mouseReleased", path[-1])]:
                page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **point, **held})


def wait_for(page, wanted, seconds: float = 90):
    limit = time.monotonic() + seconds
    while not (found := wanted()):
        assert time.monotonic() < limit, page.find_element(By.TAG_NAME, "body").text
        time.sleep(0.05)
    return found


STATE = """
const text = (id) => document.getElementById(id).textContent.trim();
return {
  label: text("label"), verdict: text("verdict"), other: text("other-score"),
  top: [...document.querySelectorAll("#top li")].map((row) => ({
    char: row.querySelector(".name").textContent,
    share: parseFloat(row.querySelector(".value").textContent),
    filled: row.querySelector(".bar span").getBoundingClientRect().width
      / row.querySelector(".bar").getBoundingClientRect().width,
  })),
  glyphs: [...document.querySelectorAll("#glyphs img")].map((x) => [x.alt, x.naturalWidth]),
};
"""


def state(page) -> dict:
    """All that is shown, at one moment: the next answer may replace it."""
    return page.execute_script(STATE)


def label(page) -> str:
    return state(page)["label"]


def press(page, button: str) -> None:
    """By script: a click of the driver's own, between the browser's input events, was once lost."""
    page.execute_script("document.getElementById(arguments[0]).click()", button)


def clear(page) -> None:
    press(page, "clear")


@pytest.mark.parametrize("char", LINES)
def test_what_is_written_is_read(page, char):
    clear(page)
    write(page, LINES[char])
    shown = wait_for(page, lambda: (s := state(page))["label"] == char and s)
    assert "sure" in shown["verdict"] and shown["other"].endswith("%")
    assert len(shown["top"]) == 3 and shown["top"][0]["char"] == char  # an alphabet of three
    shares = [row["share"] for row in shown["top"]]
    assert shares == sorted(shares, reverse=True) and sum(shares) < 101
    for row in shown["top"]:
        assert row["filled"] == pytest.approx(row["share"] / 100, abs=0.03)  # as the number says


def test_the_answer_changes_as_one_writes_on_and_back(page):
    clear(page)
    write(page, LINES["十"][:1])
    wait_for(page, lambda: label(page) == "一")
    write(page, LINES["十"][1:])
    wait_for(page, lambda: label(page) == "十")
    press(page, "undo")
    wait_for(page, lambda: label(page) == "一")
    press(page, "undo")
    wait_for(page, lambda: not label(page).strip())
    assert not page.find_element(By.ID, "undo").is_enabled()
    assert page.find_elements(By.CSS_SELECTOR, "#top li") == []


def test_the_nearest_glyphs_are_shown(page):
    clear(page)
    write(page, LINES["十"])
    wait_for(page, lambda: state(page)["glyphs"][:1] == [["十", 64]], 60)


def test_nothing_is_wider_than_the_screen(page):
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.execute_script(wide)
    paper = page.find_element(By.ID, "paper").rect
    assert paper["width"] == pytest.approx(paper["height"], abs=1) and paper["width"] > 250


def test_the_docs_show_every_path(page, url):
    page.get(f"{url}/docs")
    titles = wait_for(
        page, lambda: [h.text for h in page.find_elements(By.CSS_SELECTOR, "#paths h2")]
    )
    assert {"POST /v1/predict", "POST /inference", "GET /healthz", "GET /metrics"} <= set(titles)
    page.get(url)
