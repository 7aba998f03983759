"""The routes: right answers, and for every wrong request the status and reason that fit."""

import base64
import io
import json
import re
import struct
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from toy_model import ALPHABET, CROSS, LINES, drawing

from classifier.onnx import load_onnx
from classifier.predict import open_model, read_files
from classifier.serve.app import NEAREST_AT_ONCE, Service, create_app
from classifier.serve.keep import Keeper
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from classifier.serve.server import SPARE_THREADS
from synth.canvas import Canvas
from synth.decode import decode

LIMITS = Limits(
    max_body_bytes=200_000,
    max_pixels=300_000,
    max_images=4,
    max_requests=2,
    deadline_s=20,  # however busy the machine is
)


@pytest.fixture
def service(onnx):
    return Service(load_onnx(onnx), LIMITS, Metrics())


@pytest.fixture
def client(service):
    return create_app(service).test_client()


def png(strokes, **kind) -> bytes:
    stream = io.BytesIO()
    drawing(strokes, **kind).save(stream, "PNG")
    return stream.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def upload(*files: bytes, **fields):
    return {"image": [(io.BytesIO(f), f"{i}.png") for i, f in enumerate(files)], **fields}


def call(file: bytes, **changes) -> dict:
    return {
        "esun_uuid": "e5f1",
        "esun_timestamp": 1590493849,
        "image": b64(file),
        "retry": 2,
    } | changes


@pytest.mark.parametrize("char", LINES)
def test_the_competitions_call(client, char):
    answer = client.post("/inference", json=call(png(LINES[char])))
    assert answer.status_code == 200
    assert set(answer.json) == {"esun_uuid", "server_uuid", "answer", "server_timestamp"}
    assert answer.json["esun_uuid"] == "e5f1" and answer.json["answer"] == char
    assert isinstance(answer.json["server_timestamp"], int) and len(answer.json["server_uuid"]) > 8


def test_other_is_isnull_and_two_calls_have_two_uuids(client):
    answers = [client.post("/inference", json=call(png(s))).json for s in (CROSS, [])]
    assert [a["answer"] for a in answers] == ["isnull", "isnull"]
    assert answers[0]["server_uuid"] != answers[1]["server_uuid"]


def test_many_images_by_form_and_by_json_say_the_same_in_order(client):
    files = [png(LINES[c]) for c in LINES] + [png(CROSS)]
    by_form = client.post("/v1/predict", data=upload(*files, top="2")).json["predictions"]
    by_json = client.post("/v1/predict", json={"images": [b64(f) for f in files], "top": 2})
    for a, b in zip(by_form, by_json.json["predictions"], strict=True):
        assert [a[k] for k in ("label", "confidence", "other", "top")] == [
            b[k] for k in ("label", "confidence", "other", "top")
        ]
    assert [p["label"] for p in by_form] == [*LINES, "other"]
    assert [p["name"] for p in by_form] == ["0.png", "1.png", "2.png", "3.png"]
    assert all(len(p["top"]) == 2 and p["top"][0]["char"] == p["label"] for p in by_form[:3])
    assert by_form[3]["other"] > 0.5 > by_form[0]["other"]


def test_it_answers_what_predict_answers(client, onnx, tmp_path):
    model, images = open_model(onnx), [drawing(s, 60 + i) for i, s in enumerate(LINES.values())]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.jpg")
    files = sorted(tmp_path.glob("*.jpg"))
    wanted = model.card.predictions(
        model.probabilities(read_files(files, Canvas()).images), len(ALPHABET)
    )
    for file, said in zip(files, wanted, strict=True):
        found = client.post("/v1/predict", data=upload(file.read_bytes())).json["predictions"][0]
        assert found["label"] == said.label

        assert found["confidence"] == pytest.approx(said.confidence, abs=6e-5)  # four digits


def test_a_data_address_and_line_breaks_in_base64_are_taken(client):
    data = png(LINES["十"])
    for text in (f"data:image/png;base64,{b64(data)}", base64.encodebytes(data).decode()):
        answer = client.post("/v1/predict", json={"image": text})
        assert answer.json["predictions"][0]["label"] == "十"


GOOD = png(LINES["一"])


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/inference", {"json": [1]}, 400, "JSON list, wanted an object"),
        ("/inference", {"data": b"{", "content_type": "application/json"}, 400, "no JSON"),
        ("/inference", {"data": b"[" * 100_000}, 400, "no JSON"),
        ("/inference", {"data": b""}, 400, "no JSON"),
        ("/inference", {"json": {"image": b64(GOOD)}}, 400, "'esun_uuid' is missing"),
        ("/inference", {"json": call(GOOD, image=7)}, 400, "'image' is a int"),
        ("/inference", {"json": call(GOOD, retry="2")}, 400, "'retry' is a str"),
        ("/inference", {"json": call(GOOD, esun_timestamp=1.5)}, 400, "'esun_timestamp'"),
        ("/inference", {"json": call(GOOD, image="!!")}, 400, "no base64"),
        ("/inference", {"json": call(GOOD, image="")}, 400, "empty file"),
        ("/inference", {"json": call(GOOD[:-30])}, 400, "the file is cut"),
        ("/inference", {"json": call(b"text")}, 400, "not an image"),
        ("/v1/predict", {"data": {"top": "3"}}, 415, "wanted multipart/form-data or"),
        ("/v1/predict", {"data": GOOD, "content_type": "image/png"}, 415, "wanted multipart"),
        ("/v1/predict", {"data": {"a": (io.BytesIO(b"1"), "a")}}, 400, "field 'image'"),
        ("/v1/predict", {"json": {}}, 400, "wanted 'image', or 'images'"),
        ("/v1/predict", {"json": {"images": []}}, 400, "not empty"),
        ("/v1/predict", {"json": {"images": "x"}}, 400, "as a list"),
        ("/v1/predict", {"json": {"images": [b64(GOOD), 3]}}, 400, "image 1: wanted base64"),
        ("/v1/predict", {"json": {"images": [b64(GOOD)] * 5}}, 413, "5 images, the limit is 4"),
        ("/v1/predict", {"json": {"image": b64(GOOD), "top": 0}}, 400, "'top' is 0"),
        ("/v1/predict", {"json": {"image": b64(GOOD), "top": True}}, 400, "'top' is True"),
        ("/v1/predict", {"json": {"image": b64(GOOD), "top": "many"}}, 400, "'top' is 'many'"),
        ("/v1/predict", {"json": {"image": b64(GOOD), "keep": "no"}}, 400, "'keep' is 'no'"),
        ("/v1/predict", {"json": {"image": b64(GOOD), "keep": 0}}, 400, "'keep' is 0, wanted"),
        ("/v1/predict", {"data": upload(GOOD, keep="0")}, 400, "'keep' is '0'"),
        ("/v1/predict", {"data": upload(GOOD, top="1" * 1001)}, 413, "a field of 1001 characters"),
        ("/v1/predict", {"data": upload(GOOD, top="1" * 1000)}, 400, "'top' is"),
        (
            "/inference",
            {"json": call(b"\0\0\0 ftypheic\0")},
            400,
            "image: not an image of a format",
        ),
        ("/v1/nearest", {"json": {"images": [b64(GOOD)] * 2}}, 400, "2 images, wanted one"),
        ("/nowhere", {"json": {}}, 404, "not found"),
        ("/healthz", {"json": {}}, 405, "not allowed"),
    ],
)
def test_a_bad_request_is_told_why(client, path, body, status, says):
    answer = client.post(path, **body)
    assert answer.status_code == status
    assert set(answer.json) == {"error"} and says in answer.json["error"]


def test_of_several_images_the_bad_one_is_named(client):
    answer = client.post("/v1/predict", data=upload(GOOD, b"text", GOOD))
    assert answer.status_code == 400 and answer.json["error"] == "1.png: not an image"


def test_the_body_has_a_limit(client):
    answer = client.post("/inference", data=b"x" * 200_001)
    assert answer.status_code == 413 and "200000 bytes" in answer.json["error"]
    many = client.post("/v1/predict", data=upload(*[GOOD] * 5))
    assert many.status_code == 413 and "5 images" in many.json["error"]


def test_a_form_has_no_other_limit_that_nobody_told_of(onnx):
    """Flask's own, 500,000 bytes of a field, was told as if it were the body's."""
    limits = replace(LIMITS, max_body_bytes=2_000_000)
    client = create_app(Service(load_onnx(onnx), limits, Metrics())).test_client()
    head = b'--b\r\nContent-Disposition: form-data; name="top"\r\n\r\n'
    body = head + b"1" * 600_000 + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    answer = client.post("/v1/predict", data=body, content_type=kind)
    assert answer.status_code == 413
    assert answer.json["error"] == "a field of 600000 characters, the limit is 1000"


def test_pixels_are_counted_before_anything_is_decoded(client, monkeypatch):
    """A PNG of 300 bytes that would be 2,500 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    def bomb(side: int) -> bytes:
        head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 9)), chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    for side in (600, 50_000):
        answer = client.post("/inference", json=call(bomb(side)))
        assert answer.status_code == 413 and "the limit is 300000" in answer.json["error"]


def test_who_asks_so_is_not_kept(onnx, tmp_path):
    """By either kind of body, images by number; what else is asked is kept."""
    metrics = Metrics()
    keeper = Keeper(tmp_path, 1000, 2**20, metrics)
    client = create_app(Service(load_onnx(onnx), LIMITS, metrics, keeper)).test_client()
    image = b64(GOOD)
    for body in (
        {"data": upload(GOOD, GOOD, keep="false")},
        {"json": {"image": image, "keep": False}},
        {"data": upload(GOOD, keep="true")},
        {"json": {"images": [image] * 2, "keep": True}},
        {"json": {"image": image}},
    ):
        assert client.post("/v1/predict", **body).status_code == 200
    assert client.post("/inference", json=call(GOOD)).status_code == 200
    keeper.close()
    assert len(list(tmp_path.rglob("*.png"))) == 5


def test_overload_gets_503_at_once(service, client):
    with service.gate.entered(), service.gate.entered():
        started = time.monotonic()
        answer = client.post("/inference", json=call(GOOD))
        assert time.monotonic() - started < 1  # LIMITS give it 20 s
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
        assert "2 requests are being answered" in answer.json["error"]
        assert client.get("/healthz").status_code == 200
    assert client.post("/inference", json=call(GOOD)).status_code == 200


def test_an_error_of_ours_is_a_500_that_gives_nothing_away(service, client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(service.batcher, "_run", broken)
    answer = client.post("/inference", json=call(GOOD))
    assert answer.status_code == 500 and "secret" not in answer.text
    assert "secret" in caplog.text
    monkeypatch.undo()
    assert client.post("/inference", json=call(GOOD)).status_code == 200


def test_health_says_which_model_and_that_it_is_stopping(service, client):
    about = client.get("/healthz")
    assert about.status_code == 200 and about.json["characters"] == 3
    assert about.json["alphabet"] == ALPHABET.digest and about.json["status"] == "ok"
    service.stopping = True
    assert client.get("/healthz").status_code == 503


def test_metrics_count_what_happened(service, client):
    for strokes in (*LINES.values(), CROSS):
        client.post("/inference", json=call(png(strokes)))
    client.post("/inference", json=call(b"no image"))
    text = client.get("/metrics").text
    values = {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    name, endpoint = "inkfill_request_seconds_count", ("endpoint", "/inference")
    assert values[name, endpoint, ("status", "200")] == 4
    assert values[name, endpoint, ("status", "400")] == 1
    assert values["inkfill_answers_total", ("kind", "known")] == 3
    assert values["inkfill_answers_total", ("kind", "other")] == 1
    assert values["inkfill_batch_images_sum",] == 4
    assert values["inkfill_requests_in_flight",] == 1  # this one


def test_the_description_names_every_route_and_fits_the_answers(service):
    app = create_app(service)
    client = app.test_client()
    described = client.get("/openapi.json").json
    there = {
        (rule.rule, method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    told = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert told == there
    schemas = described["components"]["schemas"]
    assert set(schemas["Answer"]["properties"]) == set(
        client.post("/inference", json=call(GOOD)).json
    )
    found = client.post("/v1/predict", json={"image": b64(GOOD)}).json["predictions"][0]
    wanted = schemas["Predictions"]["properties"]["predictions"]["items"]
    assert set(wanted["properties"]) == set(wanted["required"]) == set(found)
    health = schemas["Health"]
    assert set(health["properties"]) == set(health["required"]) == set(client.get("/healthz").json)
    of_health = described["paths"]["/healthz"]["get"]["responses"]
    assert "Retry-After" not in json.dumps(of_health) and "Error" not in json.dumps(of_health)
    assert "stopping" not in json.dumps(described["paths"]["/v1/predict"])
    references = {r for r in json.dumps(described).split('"') if r.startswith("#/components/")}
    assert {r.rsplit("/", 1)[1] for r in references} == set(schemas)
    assert "300000 pixels" in described["info"]["description"]


def test_the_pages_load_nothing_from_elsewhere(client):
    for page in ("/", "/docs"):
        answer = client.get(page)
        assert answer.status_code == 200 and answer.mimetype == "text/html"
        assert "http://" not in answer.text and "https://" not in answer.text
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        for line in answer.text.split('"'):
            if line.startswith("/static/"):
                with client.get(line) as file:
                    assert file.status_code == 200, line


def test_the_page_has_fonts_for_its_labels(client):
    limit = time.monotonic() + 60
    while (answer := client.get("/labels.css")).status_code == 202:
        assert not answer.text and time.monotonic() < limit
        time.sleep(0.05)
    assert answer.status_code == 200 and answer.mimetype == "text/css"
    family = re.findall('font-family: "(.*?)"; src: url\\("data:font/woff;base64,', answer.text)
    assert len(family) == 1 and "U+4E00," in answer.text  # 一 first, all in one font
    assert "font-src 'self' data:" in answer.headers["Content-Security-Policy"]
    with client.get("/static/style.css") as style:
        assert f'"{family[0]}", system-ui' in style.text
    again = client.get("/labels.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304 and not again.data


def test_the_page_goes_without_fonts_where_none_can_be_cut(onnx, monkeypatch, caplog):
    def fail(text):
        raise OSError("a damaged font")

    for cut, logged in ((lambda text: [], ""), (fail, "a damaged font")):
        monkeypatch.setattr("synth.page_fonts.page_fonts", cut)
        client = create_app(Service(load_onnx(onnx), LIMITS, Metrics())).test_client()
        limit = time.monotonic() + 60
        while (answer := client.get("/labels.css")).status_code == 202:
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert answer.status_code == 200 and answer.text == ""
        assert logged in caplog.text


def test_a_server_starts_without_what_only_some_questions_need(onnx):
    """Fonts, what draws them, and OpenVINO's converter took a third of the start."""
    serve = Path(__file__).parents[1] / "scripts" / "serve.py"
    code = f"""
import runpy, sys
from classifier.serve.server import Server
Server.run = lambda self: print("loaded", *(n for n, module in sys.modules.items() if module))
sys.argv = ["serve.py", "--model", {str(onnx)!r}, "--port", "0"]
runpy.run_path({str(serve)!r}, run_name="__main__")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    (line,) = (x for x in ran.stdout.splitlines() if x.startswith("loaded "))
    loaded = set(line.split())
    assert {"openvino", "flask", "classifier.serve.glyphs"} <= loaded
    assert not loaded & {"torch", "scipy", "fontTools", "freetype", "openvino.tools.ovc"}


def test_the_nearest_glyph_of_a_font_is_the_character_written(service, client):

    limit = time.monotonic() + 60
    while (answer := client.post("/v1/nearest", data=upload(GOOD))).status_code == 202:
        assert answer.json == {"glyphs": []} and time.monotonic() < limit
        time.sleep(0.05)
    for char, strokes in LINES.items():
        glyphs = client.post("/v1/nearest", data=upload(png(strokes))).json["glyphs"]
        assert glyphs[0]["char"] == char and len({x["char"] for x in glyphs}) == len(glyphs)
        likeness = [x["likeness"] for x in glyphs]
        assert likeness == sorted(likeness, reverse=True) and likeness[0] > 0.7
        picture = Image.open(io.BytesIO(base64.b64decode(glyphs[0]["png"])))
        assert picture.size == (64, 64) and np.asarray(picture).min() < 50
    assert client.post("/v1/nearest", data=upload(png([]))).json == {"glyphs": []}


def test_of_many_images_none_is_begun_past_the_deadline(client, monkeypatch):
    """By a clock that only decoding moves."""
    from classifier.serve import app, limits

    clock, begun_at = [0.0], []

    def slow(*arguments):
        begun_at.append(clock[0])
        clock[0] += 0.6 * LIMITS.deadline_s
        return decode(*arguments)

    monkeypatch.setattr(app, "decode", slow)
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    answer = client.post("/v1/predict", data=upload(GOOD, GOOD, GOOD, GOOD))
    assert answer.status_code == 503 and "no time left" in answer.json["error"]
    assert answer.headers["Retry-After"] == "1"
    assert begun_at == [0, 0.6 * LIMITS.deadline_s]
    monkeypatch.undo()
    assert client.post("/v1/predict", data=upload(*[GOOD] * 4)).status_code == 200


def test_the_nearest_glyphs_wait_no_longer_than_a_request_may(service, client):
    service.nearest_gate._limits = replace(LIMITS, deadline_s=0.2)
    with service.glyphs._lock:  # another request is answered, without end
        started = time.monotonic()
        answer = client.post("/v1/nearest", data=upload(GOOD))
        assert answer.status_code == 503 and "no time left" in answer.json["error"]
        assert 0.2 <= time.monotonic() - started < LIMITS.deadline_s
        assert client.post("/v1/predict", data=upload(GOOD)).status_code == 200
    service.nearest_gate._limits = LIMITS
    assert client.post("/v1/nearest", data=upload(GOOD)).status_code in (200, 202)


def test_answers_and_nearest_glyphs_take_each_other_no_place(service, client):
    with ExitStack() as held:
        for _ in range(NEAREST_AT_ONCE):
            held.enter_context(service.nearest_gate.entered())
        answer = client.post("/v1/nearest", data=upload(GOOD))
        assert answer.status_code == 503
        assert f"{NEAREST_AT_ONCE} requests are being answered" in answer.json["error"]
        assert client.post("/v1/predict", data=upload(GOOD)).status_code == 200
    with service.gate.entered(), service.gate.entered():
        assert client.post("/v1/predict", data=upload(GOOD)).status_code == 503
        assert client.post("/v1/nearest", data=upload(GOOD)).status_code in (200, 202)
    assert NEAREST_AT_ONCE < SPARE_THREADS  # or they would hold the threads of answers


def test_an_image_of_any_mode_is_answered_or_refused_never_an_error(client):
    """LAB once ended in a 500: Pillow reads it, but has no direct way from it to gray."""
    lab = drawing(LINES["十"]).convert("RGB").convert("LAB")
    stream = io.BytesIO()
    lab.save(stream, "TIFF")
    answer = client.post("/inference", json=call(stream.getvalue()))
    assert answer.status_code == 200 and answer.json["answer"] == "十"
