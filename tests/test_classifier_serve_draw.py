"""The page to write on, in a real browser: by mouse, pen and finger, answers as one writes."""

import json
import shutil
import subprocess
import threading
import time
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from toy_model import SIX, write_toy_model

from classifier.onnx import load_onnx
from classifier.serve.app import Service, create_app
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from classifier.serve.server import Server

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver here (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    onnx = write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx", lines=SIX)
    service = Service(load_onnx(onnx), Limits(deadline_s=10), Metrics())
    server = Server(create_app(service), "127.0.0.1", 0, Limits(), grace_s=5)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server.url
    server.stop()
    thread.join(30)


def _browser(screen: tuple[int, int] | None = None):
    """screen: of a phone, its width and height; None: a window of a desktop."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1000,800")
    if screen:
        metrics = {"width": screen[0], "height": screen[1], "pixelRatio": 2.0, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Driver(DRIVER))


@pytest.fixture(scope="module", params=["mouse", "pen", "finger"])
def page(request, url):
    browser = _browser((390, 844) if request.param == "finger" else None)
    browser.pointer = request.param
    browser.get(url)
    yield browser
    errors = [x for x in browser.get_log("browser") if x["level"] == "SEVERE"]
    browser.quit()
    assert errors == []


def write(page, strokes) -> None:
    """Real input events of the browser, not calls of the page's functions."""
    for x0, y0, x1, y1 in strokes:
        path = [(x0 + (x1 - x0) * t / 6, y0 + (y1 - y0) * t / 6) for t in range(7)]
        point(page, "down", path[0])
        for place in path[1:]:
            point(page, "move", place)
        point(page, "up", path[-1])


def point(page, what: str, place: tuple[float, float]) -> None:
    """One event of the pointer, at a place on the paper of 1 x 1."""
    box = page.find_element(By.ID, "paper").rect
    at = {"x": box["x"] + place[0] * box["width"], "y": box["y"] + place[1] * box["height"]}
    if page.pointer == "finger":
        kind = {"down": "touchStart", "move": "touchMove", "up": "touchEnd"}[what]
        event = {"type": kind, "touchPoints": [] if what == "up" else [at]}
        page.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        return
    kind = {"down": "mousePressed", "move": "mouseMoved", "up": "mouseReleased"}[what]
    held = {"button": "left", "buttons": 0 if what == "up" else 1, "clickCount": 1}
    held["pointerType"] = page.pointer
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **at, **held})


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


@pytest.mark.parametrize("char", SIX)
def test_what_is_written_is_read(page, char):
    clear(page)
    write(page, SIX[char])
    shown = wait_for(page, lambda: (s := state(page))["label"] == char and s)
    assert "sure" in shown["verdict"] and shown["other"].endswith("%")
    assert len(shown["top"]) == 5 and shown["top"][0]["char"] == char  # of an alphabet of six
    assert len({row["char"] for row in shown["top"]}) == 5
    shares = [row["share"] for row in shown["top"]]
    assert shares == sorted(shares, reverse=True) and sum(shares) < 101
    for row in shown["top"]:
        assert row["filled"] == pytest.approx(row["share"] / 100, abs=0.03)  # as the number says


def test_the_answer_changes_as_one_writes_on_and_back(page):
    clear(page)
    write(page, SIX["十"][:1])
    wait_for(page, lambda: label(page) == "一")
    write(page, SIX["十"][1:])
    wait_for(page, lambda: label(page) == "十")
    press(page, "undo")
    wait_for(page, lambda: label(page) == "一")
    press(page, "undo")
    wait_for(page, lambda: not label(page).strip())
    assert not page.find_element(By.ID, "undo").is_enabled()
    assert page.find_elements(By.CSS_SELECTOR, "#top li") == []


def test_the_pointer_is_what_it_says(page):
    """Or the pen's tests would be the mouse's once more."""
    clear(page)
    page.execute_script(
        "window.seen = new Set();"
        "document.getElementById('paper').addEventListener('pointermove',"
        " (event) => window.seen.add(event.pointerType))"
    )
    write(page, SIX["一"])
    kind = {"finger": "touch"}.get(page.pointer, page.pointer)
    assert page.execute_script("return [...window.seen]") == [kind]


def test_it_answers_while_the_pointer_is_still_down(page):
    clear(page)
    point(page, "down", (0.1, 0.5))
    for x in (0.3, 0.5, 0.7, 0.9):
        point(page, "move", (x, 0.5))
    wait_for(page, lambda: label(page) == "一")  # nothing was let go of
    point(page, "up", (0.9, 0.5))
    point(page, "down", (0.5, 0.1))
    for y in (0.3, 0.5, 0.7, 0.9):
        point(page, "move", (0.5, y))
    wait_for(page, lambda: label(page) == "十")
    point(page, "up", (0.5, 0.9))


COUNT = """
window.asked = 0;
if (!window.plainFetch) window.plainFetch = window.fetch;
window.fetch = (...words) => { window.asked += 1; return window.plainFetch(...words); };
"""


def test_a_stroke_that_is_undone_while_it_is_drawn_is_gone(page):
    """What its pointer still draws is neither shown nor asked about; the next stroke is."""
    clear(page)
    write(page, SIX["十"][:1])
    wait_for(page, lambda: label(page) == "一" and state(page)["glyphs"])
    point(page, "down", (0.5, 0.1))
    point(page, "move", (0.5, 0.9))
    wait_for(page, lambda: label(page) == "十")
    press(page, "undo")
    wait_for(page, lambda: label(page) == "一")
    time.sleep(0.5)  # no question is on its way
    page.execute_script(COUNT)
    for y in (0.7, 0.5, 0.3):
        point(page, "move", (0.5, y))
    time.sleep(0.5)
    point(page, "up", (0.5, 0.3))
    assert page.execute_script("return window.asked") == 0 and label(page) == "一"
    write(page, SIX["十"][1:])
    wait_for(page, lambda: label(page) == "十")
    assert page.execute_script("return window.asked") > 0


REFUSE = """
if (!window.plainFetch) window.plainFetch = window.fetch;
window.fetch = async () => new Response(
  JSON.stringify({ error: "64 requests are being answered" }),
  { status: 503, headers: { "Content-Type": "application/json" } },
);
"""


def test_overload_shows_no_old_answer_and_is_asked_again(page):
    clear(page)
    write(page, SIX["十"][:1])
    wait_for(page, lambda: label(page) == "一")
    page.execute_script(REFUSE)
    write(page, SIX["十"][1:])
    wait_for(page, lambda: "64 requests" in page.find_element(By.ID, "note").text)
    wait_for(page, lambda: not state(page)["glyphs"])
    shown = state(page)
    assert not shown["label"] and shown["verdict"] == "no answer"
    assert shown["top"] == [] and shown["other"] == "" and shown["glyphs"] == []
    page.execute_script("window.fetch = window.plainFetch")
    wait_for(page, lambda: label(page) == "十")  # without another stroke
    assert page.find_element(By.ID, "note").text == ""


def test_the_nearest_glyphs_are_shown(page):
    clear(page)
    write(page, SIX["十"])
    wait_for(page, lambda: state(page)["glyphs"][:1] == [["十", 64]], 60)


def test_labels_are_drawn_with_the_fonts_that_the_server_sent(page):
    """Whatever fonts this machine has: an image machine often has none for Chinese."""
    clear(page)
    write(page, SIX["十"])
    wait_for(page, lambda: label(page) == "十")
    drawn = "return [...document.fonts].map((face) => [face.family, face.status])"
    wait_for(page, lambda: page.execute_script(drawn) == [["Inkfill labels", "loaded"]])


def test_nothing_is_wider_than_the_screen(page):
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.execute_script(wide)
    paper = page.find_element(By.ID, "paper").rect
    assert paper["width"] == pytest.approx(paper["height"], abs=1) and paper["width"] > 250


HOLD = """
if (!window.plainFetch) window.plainFetch = window.fetch;
const held = [];
window.asked = 0;
window.letGo = () => { window.fetch = window.plainFetch; held.forEach((go) => go()); };
window.fetch = (path, ...rest) => {
  if (path !== "/v1/nearest") return window.plainFetch(path, ...rest);
  window.asked += 1;
  return new Promise((go) => held.push(go)).then(() => window.plainFetch(path, ...rest));
};
"""


def test_the_answer_does_not_wait_for_the_nearest_glyphs(page):
    clear(page)
    time.sleep(1.5)  # no question is on its way
    page.execute_script(HOLD)
    try:
        write(page, SIX["十"][:1])
        wait_for(page, lambda: label(page) == "一")
        write(page, SIX["十"][1:])
        wait_for(page, lambda: label(page) == "十")  # the next question does not either
        assert page.execute_script("return window.asked") == 1
    finally:
        page.execute_script("window.letGo()")
    wait_for(page, lambda: state(page)["glyphs"][:1] == [["十", 64]])  # of the newest drawing


TOLD = """
if (!window.plainFetch) window.plainFetch = window.fetch;
window.told = [];
window.fetch = (path, options) => {
  window.told.push(options.body.get("keep"));
  return window.plainFetch(path, options);
};
"""


def test_what_is_written_here_is_not_to_be_kept(page):
    clear(page)
    page.execute_script(TOLD)
    try:
        write(page, SIX["十"])
        wait_for(page, lambda: label(page) == "十")
        told = page.execute_script("return window.told")
    finally:
        page.execute_script("window.fetch = window.plainFetch")
    assert len(told) >= 2 and set(told) == {"false"}


def test_the_docs_show_every_path(page, url):
    page.get(f"{url}/docs")
    titles = wait_for(
        page, lambda: [h.text for h in page.find_elements(By.CSS_SELECTOR, "#paths h2")]
    )
    told = json.loads(urlopen(f"{url}/openapi.json").read())["paths"]
    there = {f"{method.upper()} {path}" for path, methods in told.items() for method in methods}
    assert set(titles) == there and len(there) >= 8
    page.get(url)


def test_the_example_in_the_docs_can_be_pasted(page, url, tmp_path):
    """With an image that no command line would hold; macOS has no `base64 -w0`."""
    page.get(f"{url}/docs")
    example = wait_for(page, lambda: page.find_element(By.ID, "examples").text)
    (line,) = [x for x in example.splitlines() if "base64" in x]
    big = np.random.default_rng(1).integers(0, 256, (500, 500), np.uint8)
    Image.fromarray(big).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 200_000
    line = line.replace("curl ", "curl -sS ")
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    assert len(json.loads(done.stdout)["predictions"]) == 1
    page.get(url)


IN_SIGHT = """
return [...document.querySelectorAll("#paper, #undo, #clear, #label")].map((x) => {
  const box = x.getBoundingClientRect();
  return [x.id, box.left >= 0 && box.top >= 0
    && box.right <= innerWidth && box.bottom <= innerHeight];
});
"""


@pytest.mark.parametrize("screen", [(667, 375), (844, 390), (390, 844), (360, 640)])
def test_a_phone_shows_paper_buttons_and_answer_without_a_scroll(url, screen):
    """On its side too: the buttons were below the screen."""
    browser = _browser(screen)
    browser.pointer = "finger"
    try:
        browser.get(url)
        assert browser.execute_script("return [innerWidth, innerHeight]") == list(screen)
        write(browser, SIX["十"])
        wait_for(browser, lambda: label(browser) == "十")
        assert all(seen for _, seen in browser.execute_script(IN_SIGHT))
        paper = browser.find_element(By.ID, "paper").rect
        assert paper["width"] == pytest.approx(paper["height"], abs=1) and paper["width"] > 220
    finally:
        browser.quit()
