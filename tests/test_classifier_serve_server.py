"""The server: it ends without losing a request, and slow or greedy clients do not stop it."""

import http.client
import json
import socket
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from running_service import BODY, LIMITS, Running, wait_for

from classifier.serve import connections
from classifier.serve import server as server_module
from classifier.serve.server import Server
from synth.errors import InputError


def test_it_answers_and_the_port_is_free_afterwards(onnx):
    running = Running(onnx)
    assert running.ask()[1]["answer"] == "十"
    with pytest.raises(InputError, match=rf"127\.0\.0\.1:{running.port}: Address already in use"):
        Server(running.server.application, "127.0.0.1", running.port, LIMITS, 1)
    running.end()
    with pytest.raises(ConnectionRefusedError):
        running.ask()
    again = Server(running.server.application, "127.0.0.1", running.port, LIMITS, 1)
    again.stop()
    again.run()


def test_a_request_that_it_began_is_answered_after_stop(onnx):
    """The network is held while the server is told to stop."""
    running = Running(onnx)
    begun, go = running.hold()
    got = []
    asking = threading.Thread(target=lambda: got.append(running.ask()))
    asking.start()
    assert begun.wait(20)
    half = socket.create_connection(("127.0.0.1", running.port))  # half of a request is here
    head = f"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    half.sendall(head + BODY[:50])
    channels = running.server.active_channels
    wait_for(lambda: any(c.request is not None for c in list(channels.values())))
    running.server.stop()
    time.sleep(0.2)
    assert running.thread.is_alive() and not got
    go.set()
    half.sendall(BODY[50:])
    raw = b""
    while piece := half.recv(4096):
        raw += piece
    half.close()
    asking.join(20)
    running.thread.join(20)
    assert got[0][0] == 200 and got[0][1]["answer"] == "十"
    assert raw.startswith(b"HTTP/1.1 200 OK") and "十".encode() in raw
    assert b"Connection: close" in raw
    assert not running.thread.is_alive()


def test_clients_that_never_stop_asking_lose_nothing(onnx):
    """Eight clients with open connections; in their midst the server is told to stop. Each request
    is answered, or its connection was refused before anything was sent."""
    running = Running(onnx, replace(LIMITS, max_requests=16))
    answered, lost = [0] * 8, []

    def client(number: int) -> None:
        connection = None
        while True:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return
            try:
                status, _ = running.ask(connection)
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
                connection.close()
                return
            if status != 200:
                lost.append(status)
            answered[number] += 1
            if connection.sock is None:  # told that this was the last answer
                connection = None

    threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    limit = time.monotonic() + 20
    while min(answered) < 5 and time.monotonic() < limit:
        time.sleep(0.01)
    running.end()
    for thread in threads:
        thread.join(30)
    assert not lost and min(answered) >= 5


def test_the_grace_is_not_endless(onnx):
    running = Running(onnx, grace_s=0.3)
    half = socket.create_connection(("127.0.0.1", running.port))
    half.sendall(b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc")
    time.sleep(0.1)
    started = time.monotonic()
    running.end()
    assert time.monotonic() - started < 10
    half.close()


def test_slow_senders_hold_no_thread(running):
    """More of them than there are threads, each in the middle of a body; others are answered."""
    slow = []
    for _ in range(40):
        one = socket.create_connection(("127.0.0.1", running.port))
        one.sendall(b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
        slow.append(one)
    assert running.ask()[0] == 200
    for one in slow:
        one.close()


def test_more_than_it_lets_in_get_503_at_once_and_health_is_told(running):
    go = threading.Event()
    answer = running.service.batcher._run
    running.service.batcher._run = lambda images: (go.wait(20), answer(images))[1]
    got: list[int] = []
    held = [threading.Thread(target=lambda: got.append(running.ask()[0])) for _ in range(4)]
    for thread in held:
        thread.start()
    limit = time.monotonic() + 20
    while running.service.gate._free._value and time.monotonic() < limit:
        time.sleep(0.01)
    for _ in range(10):
        started = time.monotonic()
        status, body = running.ask()
        assert status == 503 and "4 requests" in body["error"]
        assert time.monotonic() - started < 10  # the others are held
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    go.set()
    for thread in held:
        thread.join(20)
    assert got == [200] * 4


@pytest.mark.parametrize(
    "raw", [b"\0\xff\x16\x03\x01" * 20 + b"\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/9\r\n\r\n"]
)
def test_noise_does_not_stop_it(running, raw):
    one = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    one.sendall(raw)
    with one.makefile("rb") as answer:  # head and body may come apart
        head, _, body = answer.read().partition(b"\r\n\r\n")
    one.close()
    assert b"Content-Type: application/json" in head and set(json.loads(body)) == {"error"}
    assert running.ask()[0] == 200


def test_a_sender_that_drips_loses_its_connection(onnx, monkeypatch):
    """A byte now and then is no silence, but a request must come whole in time: by a clock that the
    senders move."""
    clock = [0.0]
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(server_module, "CLEANUP_S", 0.1)
    running = Running(onnx, replace(LIMITS, receive_s=30))

    def half_a_request() -> bool:
        return any(c.request is not None for c in list(running.server.active_channels.values()))

    try:
        head = f"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n"
        for start in (b"POST /inf", head.encode()):  # within the head, and within the body
            drip = socket.create_connection(("127.0.0.1", running.port), timeout=20)
            drip.sendall(start)
            wait_for(half_a_request)
            started = clock[0]
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                while clock[0] < started + 600:
                    drip.sendall(b"x")
                    time.sleep(0.05)
                    clock[0] += 1
            assert clock[0] - started > 30
            drip.close()
            wait_for(lambda: not half_a_request())
        slow = socket.create_connection(("127.0.0.1", running.port), timeout=20)
        for _ in range(3):  # each in time, together they take longer
            slow.sendall(head.encode() + BODY[:40])
            wait_for(half_a_request)
            clock[0] += 20
            time.sleep(0.3)  # it looks for late ones meanwhile
            slow.sendall(BODY[40:])
            raw = b""
            while not raw.endswith(b"}\n"):
                piece = slow.recv(4096)
                assert piece, "closed before the answer was whole"
                raw += piece
            assert raw.startswith(b"HTTP/1.1 200")
        slow.close()
        assert running.ask()[0] == 200
    finally:
        running.end()


def test_those_who_ask_together_are_answered_as_one_batch(running):
    """Over real connections: whatever stands between them and the network lets them through."""
    go, answer, sizes = threading.Event(), running.service.batcher._run, []

    def held(images):
        sizes.append(len(images))
        assert go.wait(20)
        return answer(images)

    running.service.batcher._run = held
    got: list[int] = []
    asking = [threading.Thread(target=lambda: got.append(running.ask()[0])) for _ in range(4)]
    asking[0].start()
    wait_for(lambda: sizes)
    for thread in asking[1:]:
        thread.start()
    wait_for(lambda: len(running.service.batcher._queue) == 3)
    go.set()
    for thread in asking:
        thread.join(20)
    assert got == [200] * 4 and sizes == [1, 3]


def test_at_the_end_half_a_second_must_pass_without_a_request(onnx, monkeypatch):
    """Counted from the last answer: its reader asks again on the same connection."""
    monkeypatch.setattr(server_module, "LINGER_S", 3.0)
    running = Running(onnx)
    begun, go = running.hold()
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    got = []
    asking = threading.Thread(target=lambda: got.append(running.ask(connection)[0]))
    asking.start()
    assert begun.wait(20)
    running.server.stop()
    time.sleep(3.5)  # longer than it lingers after the stop
    go.set()
    asking.join(20)
    time.sleep(0.5)  # the way to the reader and back
    assert running.ask(connection)[0] == 200
    assert got == [200]
    connection.close()
    running.thread.join(20)
    assert not running.thread.is_alive()
