"""Bad requests: a 4xx with its reason in JSON, or an answer; never a 5xx, never a hang."""

from __future__ import annotations

import base64
import json
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import bad_cases
import pytest
from bad_cases import mutations, tried, try_all
from fuzz.service import (
    EACH_S,
    LIMITS,
    MEMORY_MIB,
    MULTIPART,
    SHAPES,
    case,
    client,
    multipart,
    picture,
    seeds,
    told,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bad_images import good_files, png

# of a form that ends early Werkzeug leaves the files to be closed by their end
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Request = dict[str, Any]  # what the client's `post` gets
PATHS = st.sampled_from(("/inference", "/v1/predict"))
GOOD = base64.b64encode(picture()).decode()
CALL = {"esun_uuid": "e5f1", "esun_timestamp": 1590493849, "image": GOOD, "retry": 2}

# ---- values that JSON can carry and nobody expects ----

# half surrogate pairs too, and often: JSON can carry them
ANY_TEXT = st.lists(  # st.text hardly ever makes them
    st.characters(exclude_categories=()) | st.sampled_from("\ud800\udfff\0\u202e\ufeff"),
    max_size=30,
).map("".join)
HUGE = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([2**63, -(2**64), 10**400, 10**4000, 5e-324, True, False]),
)
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), HUGE, ANY_TEXT, st.just(GOOD)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(("esun_uuid", "esun_timestamp", "image", "images", "retry", "top"))


@st.composite
def wrong_types(draw: st.DrawFn) -> Request:
    """A good call in which some values are others, or gone."""
    body: dict[str, Any] = {**CALL, "top": 3}
    for key in draw(st.lists(KEYS, min_size=1, max_size=3)):
        if draw(st.booleans()):
            body[key] = draw(ODD)
        else:
            body.pop(key, None)
    return {"path": draw(PATHS), "data": _text(body), "content_type": "application/json"}


@st.composite
def malformed(draw: st.DrawFn) -> Request:
    """JSON with bytes missing, doubled or changed, in any encoding, or another thing at all."""
    text = json.dumps(draw(st.one_of(ODD, st.just(CALL))))
    raw = text.encode(draw(st.sampled_from(("utf-8", "utf-16", "utf-32", "utf-7"))))
    at, end = sorted(draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
    raw = draw(
        st.sampled_from((raw[:at], raw[:at] + raw[end:], raw + raw[at:]))
        | st.binary(max_size=8).map(lambda b: raw[:at] + b + raw[at:])
        | st.binary(max_size=60)
    )
    return {"path": draw(PATHS), "data": raw, "content_type": "application/json"}


@st.composite
def deep(draw: st.DrawFn) -> Request:
    """Brackets in brackets, closed or not, as the whole or as one value."""
    depth = draw(st.sampled_from((50, 400, *range(800, 1000, 7), 5000, 90_000)))
    left, right = draw(st.sampled_from((("[", "]"), ('{"a":', "}"))))
    text = left * depth + "1" + right * draw(st.sampled_from((depth, depth, 0, depth - 1)))
    if draw(st.booleans()):
        key = draw(KEYS)
        rest = _text({k: v for k, v in {**CALL, "top": 3}.items() if k != key}).decode()
        text = f'{rest[:-1]}, "{key}": {text}}}'
    # two characters a level: within the limit of a body, or refused for that
    return {"path": draw(PATHS), "data": text.encode(), "content_type": "application/json"}


@st.composite
def base64_text(draw: st.DrawFn) -> Request:
    """Base64 that is cut, padded, spaced, of the other alphabet, or no base64."""
    at = draw(st.integers(0, len(GOOD)))
    text = draw(
        st.sampled_from(
            (
                GOOD[:at],
                GOOD[:at] + "=" * 3 + GOOD[at:],
                GOOD[:at] + "\n \t" + GOOD[at:],
                GOOD.translate(str.maketrans("+/", "-_")),
                "data:" + GOOD,
                "data:image/png;base64," + GOOD[:at],
                "=" * at,
                "",
            )
        )
        | ANY_TEXT.map(lambda t: GOOD[:at] + t + GOOD[at:])
    )
    if draw(st.booleans()):
        body: dict[str, Any] = {"images": draw(st.permutations([text, GOOD]))}
    else:
        body = {**CALL, "image": text}
    return {"path": draw(PATHS), "data": _text(body), "content_type": "application/json"}


@st.composite
def content_types(draw: st.DrawFn) -> Request:
    """A good body that is called something else, or has another length than it says."""
    body = draw(st.sampled_from((_text(CALL), FORM, picture())))
    kinds = ("application/json", "multipart/form-data", MULTIPART, "text/plain", "image/png", "")
    kinds += ("application/x-www-form-urlencoded", "application/json; charset=utf-16", "*/*", "/")
    header = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=40)
    more: Request = {}
    if draw(st.booleans()):
        length = draw(st.sampled_from(("0", "7", str(len(body) + 9), "-1", "", "x", "9" * 30)))
        more["environ_overrides"] = {"CONTENT_LENGTH": length}
    kind = draw(st.sampled_from(kinds) | header | header.map(lambda h: f"{MULTIPART}; {h}"))
    return {"path": draw(PATHS), "data": body, "content_type": kind, **more}


HEADS = st.sampled_from(
    (
        'name="image"; filename="1.png"',
        'name="image"; filename=""',
        'name="image"',
        'name="top"',
        'name="top"; filename="top"',
        'name=""',
        "name",
        'filename="1.png"',
        "name*=utf-8''image; filename*=utf-8''%ED%A0%80.png",
        "name=\"image\"; filename*=utf-16''%00",
        f'name="image"; filename="{"n" * 20_000}.png"',
        'name="image"; filename="../../etc/passwd"',
        'name="image"; filename="\u202egnp.x"',
        'name="image"; filename="1.png"\r\nContent-Type: text/plain; charset=nothing',
        'name="image"; filename="1.png"\r\nContent-Transfer-Encoding: base64',
        'name="image"; filename="1.png"\r\nContent-Length: -1',
        'name="image"; filename="1.png"\r\nContent-Length: many',
        "\r\nNo-Colon",
        "",
    )
)
FILES = good_files()
FORM = multipart(('name="image"; filename="1.png"', picture()), ('name="top"', b"2"))


@st.composite
def multiparts(draw: st.DrawFn) -> Request:
    """Parts with odd heads and contents, whole or damaged, with a boundary that may be wrong."""
    content = st.sampled_from((picture(), b"", b"3", GOOD.encode())) | st.binary(max_size=40)
    parts = draw(st.lists(st.tuples(HEADS, content), max_size=6))
    body = multipart(*parts)
    if draw(st.booleans()):
        damaged = list(mutations(body, 7, seed=draw(st.integers(0, 2**32))))
        _, body = draw(st.sampled_from(damaged))
    kind = draw(
        st.sampled_from((MULTIPART,) * 6 + ("multipart/form-data; boundary=", f'{MULTIPART}"'))
    )
    return {"path": draw(PATHS), "data": body, "content_type": kind}


@st.composite
def lying_images(draw: st.DrawFn) -> Request:
    """Image files whose header tells another size than there are pixels."""
    side = st.integers(0, 2**32 - 1) | st.sampled_from((0, 1, 300, 65_535, 2**31 - 1, 2**31))
    width, height = draw(side), draw(side)
    kind = draw(st.sampled_from(("png", "bmp", "gif", "ppm", "jpeg")))
    if kind == "png":
        data = png(width, height, b"\0" * draw(st.integers(0, 5000)))
    elif kind == "ppm":
        data = b"P5 %d %d 255\n" % (width, height) + bytes(draw(st.integers(0, 5000)))
    elif kind == "bmp":
        data = _patched(FILES["bmp L"], 18, struct.pack("<II", width, height))
    elif kind == "gif":
        whole = FILES["gif animated"]
        frame = whole.index(b",\0\0\0\0") + 5
        at = draw(st.sampled_from((6, frame)))  # the screen, or the first picture on it
        data = _patched(whole, at, struct.pack("<HH", width % 2**16, height % 2**16))
    else:
        whole = FILES["jpeg L"]
        at = whole.index(b"\xff\xc0") + 5
        data = _patched(whole, at, struct.pack(">HH", height % 2**16, width % 2**16))
    body = {**CALL, "image": base64.b64encode(data).decode()}
    return {"path": draw(PATHS), "data": _text(body), "content_type": "application/json"}


def _text(body: Any) -> bytes:
    return json.dumps(body).encode()


def _patched(data: bytes, at: int, field: bytes) -> bytes:
    return data[:at] + field + data[at + len(field) :]


FAMILIES = {
    "wrong types": wrong_types(),
    "malformed JSON": malformed(),
    "deep nesting": deep(),
    "base64": base64_text(),
    "content types": content_types(),
    "multipart": multiparts(),
    "lying images": lying_images(),
}

# ---- what holds of every one ----


@contextmanager
def in_time(each_s: float) -> Iterator[None]:
    """each_s: of processor time, and bad_cases.WALL_S by the clock, else TimeoutError."""

    def late(number: int, _: FrameType | None) -> None:
        raise TimeoutError(f"no answer in time ({signal.Signals(number).name})")

    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, each_s),
        (signal.SIGALRM, signal.ITIMER_REAL, bad_cases.WALL_S),
    )
    before = {number: signal.signal(number, late) for number, _, _ in timers}
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, timer, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def test_who_does_not_answer_in_time_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimeoutError, match="SIGPROF"), in_time(0.2):
        while True:
            pass
    monkeypatch.setattr(bad_cases, "WALL_S", 0.2)
    with pytest.raises(TimeoutError, match="SIGALRM"), in_time(60):
        time.sleep(60)


def ask(request: Request) -> str:
    tried(__name__, request)
    with in_time(EACH_S):
        return told(client().post(**request))


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_any_request(family: str, data: st.DataObject) -> None:
    ask(data.draw(FAMILIES[family]))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=400, deadline=None, derandomize=False)
def test_many_requests(family: str, data: st.DataObject) -> None:
    ask(data.draw(FAMILIES[family]))


@given(ANY_TEXT)
@settings(max_examples=100, deadline=None)
def test_any_uuid_comes_back_or_is_refused(uuid: str) -> None:
    """JSON can carry half a surrogate pair, UTF-8 cannot."""
    request = {"path": "/inference", "data": _text({**CALL, "esun_uuid": uuid})}
    tried(__name__, request)
    with in_time(EACH_S):
        answer = client().post(**request)
    try:
        uuid.encode()
    except UnicodeEncodeError:
        assert told(answer) == "refused" and "esun_uuid" in answer.json["error"]
    else:
        assert answer.status_code == 200 and answer.json["esun_uuid"] == uuid


@given(HUGE | ANY_TEXT | ODD)
@settings(max_examples=100, deadline=None)
def test_any_top(top: object) -> None:
    """A whole number from 1 to 100 is taken, also as text; nothing else is."""
    request = {"path": "/v1/predict", "data": _text({"image": GOOD, "top": top})}
    request["content_type"] = "application/json"
    taken = ask(request) == "answered"
    if isinstance(top, bool) or not isinstance(top, int | str):
        assert not taken
    elif isinstance(top, int):
        assert taken == (1 <= top <= 100)
    else:
        assert not taken or 1 <= int(top) <= 100


def test_a_good_request_is_answered() -> None:
    """Or the refusals above would prove nothing."""
    for request in (
        {"path": "/inference", "json": CALL},
        {"path": "/v1/predict", "json": {"images": [GOOD, GOOD], "top": 1}},
        {"path": "/v1/predict", "data": FORM, "content_type": MULTIPART},
    ):
        assert told(client().post(**request)) == "answered"


def test_a_long_name_is_not_given_back_in_full() -> None:
    body = multipart((f'name="image"; filename="{"n" * 50_000}.png"', b"no image"))
    answer = client().post("/v1/predict", data=body, content_type=MULTIPART)
    assert told(answer) == "refused" and "not an image" in answer.json["error"]


def test_many_parts_and_many_images_are_counted() -> None:
    heads = ["name=top", 'name="image"; filename="1.png"']
    for parts in ([(heads[0], b"1")] * 2000, [(heads[1], b"")] * 500):
        body = multipart(*parts)
        assert len(body) < LIMITS.max_body_bytes
        answer = client().post("/v1/predict", data=body, content_type=MULTIPART)
        assert told(answer) == "refused" and answer.status_code == 413


@pytest.mark.parametrize("each", [14, pytest.param(140, marks=pytest.mark.slow)])
def test_damaged_requests(each: int) -> None:
    """In a process of its own, with a bound on its memory."""
    good = list(seeds())
    assert {data[0] for _, data in good} == set(range(len(SHAPES)))
    assert try_all(case, good, MEMORY_MIB, EACH_S, good=True) == {"answered": len(good)}
    cases = [
        (f"{name}, {what}", data[:1] + damaged)
        for name, data in good
        for what, damaged in mutations(data[1:], each, seed=each)
    ]
    outcomes = try_all(case, cases, MEMORY_MIB, EACH_S)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 4, outcomes
