"""The serving benchmark: nobody is left out in silence, and each claim can be missed."""

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT


class Answers(BaseHTTPRequestHandler):
    """The number that it is sent; every tenth gets an error."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        number = int(self.rfile.read(int(self.headers["Content-Length"])))
        body = b'{"answer": "%d"}' % number
        self.send_response(503 if number % 10 == 9 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


class Patient(ThreadingHTTPServer):
    request_queue_size = 128  # the usual 5 lose connections that come at once on a busy machine


@contextmanager
def foreign(handler=Answers):
    """A server of somebody else. Yields its port."""
    server = Patient(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import serving

    yield serving
    for name in ("serving", "serving_claims", "serving_engines", "serving_load", "timing"):
        sys.modules.pop(name, None)


WORDS = ["--model", "none", "--images", "none"]


def test_a_contestant_that_is_not_there_is_named_and_ends_it(serving, monkeypatch, capsys):
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == "litserve" else True)
    monkeypatch.setattr(serving, "measure", lambda args: pytest.fail("measured without"))
    assert serving.main(WORDS) == 2
    assert capsys.readouterr().err == (
        "litserve: MISSING; install it (see --help), or --without litserve\n"
    )
    monkeypatch.setattr(serving, "measure", lambda args: [])
    assert serving.main([*WORDS, "--without", "litserve"]) == 0
    assert "litserve: left out, as asked" in capsys.readouterr().out
    assert serving.main([*WORDS, "--rounds", "4"]) == 2


def test_a_missed_claim_is_marked_and_is_an_exit_code(serving, monkeypatch, capsys):
    from timing import Rates

    good = serving.times_faster("x", Rates("a", (3.0, 9.0, 3.2)), Rates("b", (1.0, 1.0, 1.0)), 3)
    bad = serving.times_faster("y", Rates("a", (2.0, 9.0, 2.0)), Rates("b", (1.0, 1.0, 1.0)), 3)
    assert good.holds and not bad.holds  # by the median of the rounds, not the best
    monkeypatch.setattr(serving, "missing", lambda without: [])
    for rows, code in (([good], 0), ([good, bad], 1)):
        monkeypatch.setattr(serving, "measure", lambda args, rows=rows: rows)
        assert serving.main(WORDS) == code
        assert ("MISSED" in capsys.readouterr().out) == bool(code)
    assert "3.20   3.00 to 9.00" in str(good)


def test_where_ours_differs_from_itself_the_claims_are_void(serving, monkeypatch, capsys):
    """Whatever they say: another exit code than that of a missed claim."""
    from timing import Rates

    one, fast = Rates("a", (1.0, 1.0, 1.0)), Rates("b", (2.0, 2.0, 2.0))
    void = serving.same_again("x", one, fast)
    monkeypatch.setattr(serving, "missing", lambda without: [])
    for peer in (one, fast):
        rows = [void, serving.times_faster("y", fast, peer, 2.0)]
        monkeypatch.setattr(serving, "measure", lambda args, rows=rows: rows)
        assert serving.main(WORDS) == 2
        assert "A/A FAILED" in str(void) and "A/A failed" in capsys.readouterr().out


def test_rounds_are_held_against_each_other_not_their_medians(serving):
    """A machine that slows down slows both: the ratio stays."""
    from timing import Rates

    ours, other = Rates("a", (1.0, 4.0, 2.0)), Rates("b", (0.5, 2.0, 1.0))
    assert serving.at_most("x", ours, "b", other, 2.0).ratios == (2.0, 2.0, 2.0)
    assert serving.at_most("x", ours, "b", other, 2.0).holds
    assert not serving.at_most("x", ours, "b", other, 1.99).holds
    assert not serving.times_faster("x", ours, ours, 1.0).holds  # more is wanted, not as much


def test_the_same_twice_and_the_same_answers_have_bounds(serving):
    from timing import Rates

    one = Rates("a", (1.0, 1.0, 1.0))
    assert serving.same_again("x", one, Rates("b", (1.05, 0.7, 1.02))).holds
    assert not serving.same_again("x", one, Rates("b", (1.2, 1.2, 0.9))).holds
    answers = dict(enumerate("abcdefghij"))
    assert serving.same_answers("x", answers, "b", answers, 0.999).holds
    row = serving.same_answers("x", answers, "b", {**answers, 3: "z"}, 0.95)
    assert not row.holds and row.ratios == (pytest.approx(0.9),)
    assert not serving.same_answers("x", answers, "b", {}, 0.5).holds  # compared with nothing


def followed(asked, names):
    """Name -> those that it came behind in a turn, of the names once each."""
    turns = [asked[i : i + len(names)] for i in range(0, len(asked), len(names))]
    assert all(sorted(turn) == sorted(names) for turn in turns)
    pairs = [pair for turn in turns for pair in pairwise(turn)]
    return {name: {a for a, b in pairs if b == name} for name in names}


def test_the_engines_are_asked_in_turn_each_behind_every_other(serving):
    """One that leaves the caches or the processor's clock worse does not do so to always the
    same."""
    asked: list[tuple[str, int]] = []
    found = {
        name: serving.Engine(lambda images, name=name: asked.append((name, len(images))))
        for name in ("a", "b", "c")
    }
    images = np.zeros((2, 4, 4), np.uint8)
    for batch in (1, 3):
        asked.clear()
        seconds = serving.latencies(found, images, rounds=5, calls=6, batch=batch)
        assert [len(x.rates) for x in seconds.values()] == [5, 5, 5]
        names = [name for name, _ in asked]
        assert followed(names, "abc") == {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}}
        assert all(asked.count((name, batch)) == 6 * 6 for name in found)
        before = list(asked)
        asked.clear()
        serving.latencies(found, images, rounds=5, calls=6, batch=batch)
        assert asked == before  # the same order in every run


def test_ours_is_held_against_the_better_way_of_each_peer(serving, monkeypatch):
    """A peer as it is, or with one thread an answer; its answers are compared too."""
    rates = {"ours": 100.0, "ours again": 100.0, "ours, float32": 90.0, "flask": 20.0}
    rates |= {"flask, 1 thread": 40.0, "fastapi": 50.0, "fastapi, 1 thread": 25.0}
    asked: list[str] = []

    def closed_loop(name, bodies, clients, requests):
        if clients == 8:
            asked.append(name)
        wrong = name in ("flask", "fastapi, 1 thread")  # those that are not compared
        return np.full(requests, 1e-3), rates[name], dict.fromkeys(range(4), "b" if wrong else "a")

    monkeypatch.setattr(serving, "closed_loop", closed_loop)
    monkeypatch.setattr(serving, "open_loop", lambda *_: (np.full(7, 0.1), []))
    args = SimpleNamespace(rounds=5, requests=3, open_requests=7)
    rows = serving._over_http({n: n for n in rates}, [b""], lambda i: 1e-3, "f32", args)
    shown = {(row.claim, row.peer): row for row in rows}
    flask = shown["throughput", "flask, 1 thread 40/s"]
    assert flask.ratios == (2.5,) * 5 and not flask.holds
    assert shown["throughput", "fastapi 50/s"].holds
    assert shown["throughput, float32", "fastapi 50/s"].ratios == (1.8,) * 5
    assert shown["same answers", "flask, 1 thread"].holds
    assert shown["same answers, float32", "fastapi"].holds
    assert all(len(behind) > 1 for behind in followed(asked, rates).values())


@pytest.mark.parametrize("holds", [True, False])
def test_every_limit_over_http_can_be_missed(serving, monkeypatch, holds):
    factor = 1.0 if holds else 10.0

    def closed_loop(name, bodies, clients, requests):
        seconds = np.full(requests, (0.0035 if clients == 1 else 0.02) * factor)
        return seconds, 100.0, {0: "a"}

    lost = [] if holds else ["one"]
    monkeypatch.setattr(serving, "closed_loop", closed_loop)
    monkeypatch.setattr(serving, "open_loop", lambda *_: (np.full(7, 0.9 * factor), lost))
    args = SimpleNamespace(rounds=5, requests=3, open_requests=7)
    names = {name: name for name in ("ours", "ours again", "ours, float32")}
    rows = serving._over_http(names, [b""], lambda i: 0.003, "f32", args)
    limits = [row for row in rows if not row.is_same_again]
    assert [row.claim for row in limits] == [
        *("HTTP p50, 1 client", "HTTP p50, 1 client", "HTTP p99, 8 clients"),
        *("open loop, slowest request", "open loop, lost"),
    ]
    assert [row.holds for row in limits] == [holds] * 5


@pytest.mark.parametrize(("ours_s", "holds"), [(0.9, True), (1.1, False)])
def test_the_start_is_held_against_half_of_a_peers(serving, monkeypatch, ours_s, holds):
    class Started:
        def __init__(self, words, port, path, body):
            self.start_s = ours_s if words == ["ours"] else 2.0

        def end(self):
            pass

    monkeypatch.setattr(serving, "Running", Started)
    args = SimpleNamespace(rounds=5, port=7000)
    (row,) = serving.starts({"ours": ["ours"], "flask": ["flask"]}, args, b"")
    assert row.holds is holds and len(row.ratios) == 5


def test_an_engine_that_answers_otherwise_is_named_before_it_is_timed(serving):
    """In float32 by the probabilities, in fewer bits by the answers."""
    images = np.arange(40, dtype=np.uint8)[:, None, None]
    sizes: list[int] = []

    def answer(images, off=0.0, turned=()):
        sizes.append(len(images))
        left = 0.2 + 0.6 * (images[:, 0, 0] % 2) + off
        left = np.where(np.isin(images[:, 0, 0], turned), 1 - left, left)
        return np.stack([left, 1 - left], 1).astype(np.float32)

    def required(is_float32=True, **kind):
        other = serving.Engine(lambda images: answer(images, **kind), is_float32)
        found = {"ours, float32": serving.Engine(answer), "other": other}
        serving.require_same(found, images, 16, within=1e-4, least=0.97)

    required(off=5e-5)
    assert sizes == [16, 16, 8] * 3  # ours as one of all
    required(is_float32=False, off=0.1)
    required(is_float32=False, turned=(3,))  # one of 40
    for kind in ({"off": 2e-4}, {"off": np.nan}, {"turned": (3, 4), "is_float32": False}):
        with pytest.raises(RuntimeError, match="other: answers 16 images at a time otherwise"):
            required(**kind)


@pytest.mark.parametrize("best", ["OpenVINO", "onnxruntime", "torch eager", "torch.compile"])
def test_one_image_and_a_batch_are_claims_against_the_best_of_all_others(
    serving, monkeypatch, best
):
    import serving_engines

    images = np.zeros((20, 4, 4), np.uint8)
    now = [0.0]

    def engine(seconds):
        def answer(images):
            now[0] += seconds * len(images)
            return np.full((len(images), 2), 0.5, np.float32)

        return serving.Engine(answer)

    # powers of two: the clock counts them exactly
    names = ("OpenVINO", "onnxruntime", "torch eager", "torch.compile")
    found = {name: engine(2**-12 if name == best else 2**-10) for name in names}
    found |= {"ours": engine(2**-12), "ours again": engine(2**-12), "ours, float32": engine(2**-11)}
    monkeypatch.setattr(serving_engines, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    rows = serving._alone(found, images, SimpleNamespace(rounds=5, calls=10))
    shown = {row.claim: row for row in rows}
    assert list(shown) == [
        "model, one image, A/A", "model, one image", "model, one image, float32",
        "model, 16 images, A/A", "model, 16 images", "model, 16 images, float32",
    ]  # fmt: skip
    for batch in ("one image", "16 images"):
        row, float32 = shown[f"model, {batch}"], shown[f"model, {batch}, float32"]
        assert row.peer.startswith(f"{best} ") and row.holds and row.ratios == (1.0,) * 5
        assert float32.peer == row.peer and not float32.holds and float32.ratios == (2.0,) * 5


def test_the_start_is_that_of_the_folder_as_the_manual_has_it(serving):
    args = SimpleNamespace(model="runs/classifier", without=[], port=7000)
    words = serving._words(args)
    assert words["ours"][-4:] == ["--model", "runs/classifier", "--port", "7000"]
    assert words["flask"][-2:] == ["runs/classifier", "7003"]
    assert words["flask, 1 thread"][:2] == ["env", "OMP_NUM_THREADS=1"]
    assert words["flask, 1 thread"][2:-1] == words["flask"][:-1]
    assert words["flask, 1 thread"][-1] == "7004"
    args.without = ["flask"]
    assert not [name for name in serving._words(args) if name.startswith("flask")]


def test_lost_requests_are_told(serving):
    with foreign() as port:
        running = SimpleNamespace(port=port, path="/inference")
        good, all_of_them = [[str(i).encode() for i in range(n)] for n in (9, 10)]
        seconds, rate, answers = serving.closed_loop(running, good, 3, 27)
        assert len(seconds) == 27 and rate > 0 and answers == {i: str(i) for i in range(9)}
        with pytest.raises(RuntimeError, match=r"3 requests lost, the first: .*503"):
            serving.closed_loop(running, all_of_them, 3, 30)
        seconds, lost = serving.open_loop(running, all_of_them, 500, 40)
        assert len(seconds) == 36 and len(lost) == 4


def test_a_server_left_on_the_port_is_not_measured_in_ours_place(serving, monkeypatch, tmp_path):
    """The benchmark once took any answer for one of the process it had started."""
    import serving_load

    started = tmp_path / "started"
    words = [sys.executable, "-c", f"open({str(started)!r}, 'w')"]
    with foreign() as port:
        with pytest.raises(RuntimeError, match=f"port {port}: Address already in use; end what"):
            serving.Running(words, port, "/", b"1")
        assert not started.exists()
    serving_load._require_free(port)  # as soon as it has ended

    has_ended = threading.Event()

    class Late(Answers):
        def do_POST(self) -> None:
            assert has_ended.wait(60)
            super().do_POST()

    def popen(*words, **how):
        process = subprocess.Popen(*words, **how)
        threading.Thread(target=lambda: (process.wait(), has_ended.set())).start()
        return process

    monkeypatch.setattr(serving_load, "subprocess", SimpleNamespace(Popen=popen))
    monkeypatch.setattr(serving_load, "_require_free", lambda port: None)
    with (
        foreign(Late) as port,
        pytest.raises(RuntimeError, match=r"did not start:\n.*no port for me"),
    ):
        serving.Running(
            [sys.executable, "-c", "raise SystemExit('no port for me')"], port, "/", b"1"
        )


def test_a_server_that_takes_a_call_and_says_nothing_ends_the_wait(serving, monkeypatch):
    import serving_load

    monkeypatch.setattr(serving_load, "START_LIMIT_S", 0.2)
    monkeypatch.setattr(serving_load, "_require_free", lambda port: None)
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call, as long as this lasts
        given_up = threading.Timer(120, silent.close)  # else a wait without end hangs the test
        given_up.start()
        with pytest.raises(RuntimeError, match="did not start"):
            serving.Running(words, silent.getsockname()[1], "/", b"1")
        assert given_up.is_alive()
        given_up.cancel()
