"""What comes to the service's connections: refusals arrive, every address answers, time is kept."""

import http.client
import json
import socket
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
from running_service import BODY, LIMITS, Running, wait_for

from classifier.serve import connections
from classifier.serve import server as server_module
from synth.errors import InputError


def test_a_body_over_the_limit_is_refused_before_it_is_read(running):
    one = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    one.sendall(b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    assert b" 413 " in one.recv(4096).split(b"\r\n")[0]
    one.close()
    # a little more than the limit, the last piece by itself: what a closed connection has not read
    # would take the answer with it
    chunked = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    chunked.sendall(b"POST /inference HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    for _ in range(LIMITS.max_body_bytes // len(piece)):
        chunked.sendall(piece)
    time.sleep(0.3)
    chunked.sendall(piece)
    assert b" 413 " in chunked.recv(4096).split(b"\r\n")[0]
    chunked.close()
    assert running.ask()[0] == 200


def post(port, body, path="/inference") -> tuple[int, dict]:
    """All of the body, then the answer, as most clients do."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_who_sends_all_of_a_body_over_the_limit_is_told_so(running):
    """It once got a broken pipe: a connection that is closed with something unread is reset."""
    for size in (LIMITS.max_body_bytes + 1, 10_000_000):
        for _ in range(5):
            assert post(running.port, b"x" * size) == (413, {"error": "more than 100000 bytes"})
    assert b'endpoint="unknown",status="413"} 10.0' in running.service.metrics.text()
    assert running.ask()[0] == 200


def test_a_body_of_the_limit_is_taken(running):
    status, body = post(running.port, b"x" * LIMITS.max_body_bytes)
    assert status == 400 and "no JSON" in body["error"]


def test_bodies_in_files_have_a_limit_for_all_connections_together(onnx):
    """2,048 connections of 8 MiB each could fill the disk."""
    limits = replace(LIMITS, max_body_bytes=200_000, max_held_bytes=250_000)
    running = Running(onnx, limits)
    held = running.server.held
    head = b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
    try:
        for again in range(2):  # what was counted is let go of
            half = socket.create_connection(("127.0.0.1", running.port), timeout=10)
            half.sendall(head + b"x" * 150_000)
            wait_for(lambda: held.bytes == 150_000)
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
            connection.request("POST", "/inference", b"x" * 150_000)
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert "other requests' bodies" in json.loads(answer.read())["error"]
            connection.close()
            assert running.ask()[0] == 200  # a small one stays in memory
            assert held.bytes == 150_000
            if again:  # the sender goes away within the body, or ends it
                half.close()
            else:
                half.sendall(b"x" * 50_000)
                assert b" 400 " in half.recv(4096).split(b"\r\n")[0]
                half.close()
            wait_for(lambda: held.bytes == 0)
        assert post(running.port, b"x" * 200_000)[0] == 400
        assert b'endpoint="unknown",status="503"} 2.0' in running.service.metrics.text()
    finally:
        running.end()


def test_who_asks_first_whether_to_send_too_much_is_refused_at_once(running):
    """As curl does: it was told to go on, and read up to the limit."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as one:
        head = "POST /inference HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
        one.sendall(f"{head}100001\r\n\r\n".encode())
        assert one.recv(4096).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as one:
        one.sendall(f"{head}{len(BODY)}\r\n\r\n".encode())
        assert one.recv(4096).startswith(b"HTTP/1.1 100 ")
        one.sendall(BODY)
        assert one.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_refused_sender_that_goes_on_is_cut(onnx, monkeypatch):
    monkeypatch.setattr(connections, "DRAIN_S", 0.5)
    monkeypatch.setattr(server_module, "CLEANUP_S", 0.1)
    running = Running(onnx)
    try:
        head = b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
        for goes_on in (True, False):
            started = time.monotonic()
            one = socket.create_connection(("127.0.0.1", running.port), timeout=10)
            one.sendall(head)
            assert one.recv(4096).startswith(b"HTTP/1.1 413 ")
            if goes_on:
                with pytest.raises((BrokenPipeError, ConnectionResetError)):
                    while time.monotonic() < started + 20:
                        one.sendall(b"x" * 1000)
                        time.sleep(0.01)
            wait_for(lambda: not running.server.active_channels)
            assert time.monotonic() - started >= 0.5
            one.close()
    finally:
        running.end()


def test_a_name_with_two_addresses_is_listened_on_at_both(onnx, monkeypatch):
    """As localhost is: only the first of them was. A machine without IPv6 knows that name too."""
    addresses = ["127.0.0.1", "127.0.0.2"]
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        addresses.append("::1")
    real = socket.getaddrinfo

    def resolved(host, *arguments, **options):
        names = ("::1", "127.0.0.1", "127.0.0.2") if host == "both.test" else (host,)
        return [x for name in names for x in real(name, *arguments, **options)]

    monkeypatch.setattr(connections.socket, "getaddrinfo", resolved)
    running = Running(onnx, host="both.test")
    try:
        assert running.server.url.endswith(f":{running.port}")
        for host in addresses:
            connection = http.client.HTTPConnection(host, running.port, timeout=20)
            assert running.ask(connection)[0] == 200
            connection.close()
    finally:
        running.end()
    for host in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, running.port), timeout=20)


def test_a_host_that_nobody_knows_is_told_in_the_resolvers_words(monkeypatch):
    """Which is not asked: some know every name."""

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(connections.socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match=r"^--host nosuch\.host: Name or service not known$"):
        connections.bound("nosuch.host", 8000)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"^--host x{64}: .*(label|too long)"):  # no host's name
        connections.bound("x" * 64, 8000)


def test_of_two_addresses_one_that_is_taken_is_told(onnx, monkeypatch):
    real = socket.getaddrinfo

    def resolved(host, *arguments, **options):
        return [x for n in ("127.0.0.2", "127.0.0.1") for x in real(n, *arguments, **options)]

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(connections.socket, "getaddrinfo", resolved)
        with pytest.raises(InputError, match=rf"both\.test:{port}: Address already in use"):
            connections.bound("both.test", port)
        monkeypatch.undo()
        (again,) = connections.bound("127.0.0.2", port)  # it was let go of
        again.close()


def test_time_runs_from_when_a_request_has_come_whole(onnx):
    """Not from when a thread is free for it: behind slow ones it would wait without end."""
    limits = replace(LIMITS, deadline_s=0.3)
    running = Running(onnx, limits)
    try:
        add_task = running.server.task_dispatcher.add_task

        def later(task):
            time.sleep(0.5)  # until a thread is free
            add_task(task)

        running.server.task_dispatcher.add_task = later
        status, body = running.ask()
        assert status == 503 and "no time left" in body["error"]
        running.server.task_dispatcher.add_task = add_task
        running.service.gate._limits = LIMITS
        assert running.ask()[0] == 200
    finally:
        running.end()


@pytest.mark.parametrize("more", ["", "Content-Length: 0\r\n"])
def test_who_asks_first_whether_to_send_nothing_is_answered(running, more):
    """It was told to go on, and waited for without end."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as one:
        head = f"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{more}\r\n"
        one.sendall(head.encode())
        assert one.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("limit_s", "says"), [(5, "not whole after 5 s"), (600, "nothing more")])
@pytest.mark.parametrize("start", [b"POST /inf", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"])
def test_a_request_that_is_not_whole_in_time_is_told_so(onnx, monkeypatch, start, limit_s, says):
    clock = [0.0]
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(server_module, "CLEANUP_S", 0.1)
    running = Running(onnx, replace(LIMITS, receive_s=limit_s))
    try:
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as one:
            one.sendall(start)
            channels = running.server.active_channels
            wait_for(lambda: any(c.request is not None for c in list(channels.values())))
            clock[0] += 60
            head, _, body = one.makefile("rb").read().partition(b"\r\n\r\n")
        assert b" 408 " in head.splitlines()[0] and says in json.loads(body)["error"]
        assert running.ask()[0] == 200
        assert b'endpoint="unknown",status="408"} 1.0' in running.service.metrics.text()
    finally:
        running.end()


def test_beyond_the_most_connections_a_sender_is_told_at_once(onnx, monkeypatch):
    """They waited, until a sender of half a request was cut after half a minute."""
    monkeypatch.setattr(server_module, "most_connections", lambda: 3)
    monkeypatch.setattr(server_module, "TURNED_AWAY", 9)
    running = Running(onnx)
    try:
        half = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(3)]
        for one in half:
            one.sendall(b"POST /inf")
        channels = running.server.active_channels
        wait_for(lambda: len(channels) == 3)
        for _ in range(5):
            started = time.monotonic()
            status, body = running.ask()
            assert status == 503 and body == {"error": "too many connections"}
            assert time.monotonic() - started < 5
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as one:
            head, _, _ = one.makefile("rb").read().partition(b"\r\n\r\n")  # nothing was asked
            assert b"Retry-After: 1" in head
        half.pop().close()
        wait_for(lambda: len(channels) < 3)
        assert running.ask()[0] == 200
        assert b'endpoint="unknown",status="503"} 6.0' in running.service.metrics.text()
        for one in half:
            one.close()
    finally:
        running.end()
