"""Servers in processes of their own, and clients that ask them. No benchmark by itself."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 120


class Running:
    """A server, from its start to its first answer, and its end."""

    def __init__(self, words: Sequence[str], port: int, path: str, body: bytes) -> None:
        """Raises RuntimeError where another server has the port, which would be measured in its
        place, and with what it said where it does not start."""
        _require_free(port)
        self.port, self.path = port, path
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  closed by `end`
        began = time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, env=environment)
        while True:
            left_s = max(0.1, began + START_LIMIT_S - time.monotonic())
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=left_s)
            try:
                self.first = ask(connection, path, body)
                if self.process.poll() is None:  # else it was not this one that answered
                    break
                raise ValueError("answered by another")
            except (OSError, http.client.HTTPException, ValueError):
                if self.process.poll() is not None or time.monotonic() > began + START_LIMIT_S:
                    self.log.seek(0)
                    text = self.log.read().decode(errors="replace")
                    self.end()
                    raise RuntimeError(f"{words} did not start:\n{text}") from None
                time.sleep(0.01)
            finally:
                connection.close()
        self.start_s = time.monotonic() - began

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that ended is none
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RuntimeError(
                f"port {port}: {error.strerror}; end what listens there, or choose another --port"
            ) from None


def ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> str:
    """The answer to one call. Raises ValueError for a status other than 200."""
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    read = answer.read()
    if answer.status != 200:
        raise ValueError(f"{answer.status}: {read[:200]!r}")
    return json.loads(read)["answer"]


def closed_loop(
    server: Running, bodies: Sequence[bytes], clients: int, requests: int
) -> tuple[np.ndarray, float, dict[int, str]]:
    """Each client asks again when it is answered.

    -> sorted seconds a request, requests a second, and the answers by number of the body. Raises
    RuntimeError where a request was lost.
    """
    seconds: list[float] = []
    answers: dict[int, str] = {}

    def one(connection: http.client.HTTPConnection, number: int) -> None:
        began = time.perf_counter()
        answer = ask(connection, server.path, bodies[number % len(bodies)])
        seconds.append(time.perf_counter() - began)
        answers[number % len(bodies)] = answer

    began = time.perf_counter()
    lost = _by_threads(server, clients, requests, one)
    rate = len(seconds) / (time.perf_counter() - began)
    if lost:
        raise RuntimeError(f"port {server.port}: {len(lost)} requests lost, the first: {lost[0]}")
    return np.sort(seconds), rate, answers


def open_loop(
    server: Running, bodies: Sequence[bytes], rate: float, requests: int
) -> tuple[np.ndarray, list[str]]:
    """Requests at fixed moments, whatever the answers. -> sorted seconds from the moment each was
    due to its answer, and what happened to those that were lost."""
    seconds: list[float] = []
    began = time.perf_counter() + 0.2

    def one(connection: http.client.HTTPConnection, number: int) -> None:
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        ask(connection, server.path, bodies[number % len(bodies)])
        seconds.append(time.perf_counter() - due)

    lost = _by_threads(server, 32, requests, one)
    return np.sort(seconds), lost


def _by_threads(
    server: Running,
    clients: int,
    requests: int,
    one: Callable[[http.client.HTTPConnection, int], None],
) -> list[str]:
    """Calls `one` for each number of a request, by so many threads. Returns what failed."""
    lost: list[str] = []
    lock = threading.Lock()
    numbers = iter(range(requests))

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                connection.close()
                return
            try:
                one(connection, number)
            except (OSError, ValueError, http.client.HTTPException) as error:
                lost.append(repr(error))
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lost
