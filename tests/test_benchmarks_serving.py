"""The serving benchmark: nobody is left out in silence, and each claim can be missed."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import serving

    yield serving
    for name in ("serving", "serving_claims", "serving_load", "timing"):
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


def test_the_engines_are_asked_in_turn(serving):
    asked: list[str] = []
    found = {name: lambda images, name=name: asked.append(name) for name in ("a", "b", "c")}
    seconds = serving.latencies(found, np.zeros((2, 4, 4), np.uint8), rounds=5, calls=6)
    assert [len(x.rates) for x in seconds.values()] == [5, 5, 5]
    assert asked[:6] == ["a", "b", "c", "b", "c", "a"]
    assert all(asked.count(name) == 6 * 6 for name in found)


def test_lost_requests_are_told(serving):
    """Every tenth gets an error."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            number = int(self.rfile.read(int(self.headers["Content-Length"])))
            body = b'{"answer": "%d"}' % number
            self.send_response(503 if number % 10 == 9 else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        running = SimpleNamespace(port=server.server_port, path="/inference")
        good, all_of_them = [[str(i).encode() for i in range(n)] for n in (9, 10)]
        seconds, rate, answers = serving.closed_loop(running, good, 3, 27)
        assert len(seconds) == 27 and rate > 0 and answers == {i: str(i) for i in range(9)}
        with pytest.raises(RuntimeError, match=r"3 requests lost, the first: .*503"):
            serving.closed_loop(running, all_of_them, 3, 30)
        seconds, lost = serving.open_loop(running, all_of_them, 500, 40)
        assert len(seconds) == 36 and len(lost) == 4
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
