"""A service that is asked for much at once: memory, files and filters of warnings are bounded."""

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from pathlib import Path

import pytest
from conftest import ROOT

from classifier.serve import connections
from synth import decode
from synth.errors import InputError

# asks a service of its own for 32 images of 4,000,000 pixels at once
MEMORY = """
import http.client, io, json, resource, sys, threading, time
from pathlib import Path
from PIL import Image
from classifier.onnx import load_onnx
from classifier.serve.app import Service, create_app
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from classifier.serve.server import Server

limits = Limits(deadline_s=100)
server = Server(create_app(Service(load_onnx(Path(sys.argv[1])), limits, Metrics())), "127.0.0.1",
    0, limits, 5)
serving = threading.Thread(target=server.run)
serving.start()
stream = io.BytesIO()
Image.new("RGBA", (2000, 2000), (0, 0, 0, 100)).save(stream, "PNG")
body = (b'--b\\r\\nContent-Disposition: form-data; name="image"; filename="a.png"\\r\\n\\r\\n'
    + stream.getvalue() + b"\\r\\n--b--\\r\\n")
statuses = []
def ask():
    connection = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=100)
    connection.request("POST", "/v1/predict", body,
        {"Content-Type": "multipart/form-data; boundary=b"})
    statuses.append(connection.getresponse().status)
    connection.close()
ask()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=ask) for _ in range(32)]
[t.start() for t in threads]
[t.join() for t in threads]
server.stop()
serving.join()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"statuses": sorted(set(statuses)), "grown_mib": grown / 1024}))
"""


def script(code: str, *arguments: object, **options) -> str:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_large_images_at_once_take_bounded_memory(onnx):
    """Each takes some 60 MB while it is decoded: 32 of them were 2 GB."""
    said = json.loads(script(MEMORY, onnx, timeout=100))
    assert said["statuses"] == [200] and said["grown_mib"] < 400, said


def test_more_connections_than_files_cost_no_processor(onnx):
    """It took 2048 where it could open 1024: accepting failed, and was tried again without end."""
    files = 256

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    serve = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--model", str(onnx), "--port"]
    process = subprocess.Popen(
        [*serve, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=few
    )
    try:
        url = process.stdout.readline().split(": ")[0]
        port = int(url.rsplit(":", 1)[1])
        many = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(2 * files)]
        time.sleep(1.0)
        before = seconds_of(process.pid)
        time.sleep(2.0)
        assert seconds_of(process.pid) - before < 0.5
        for one in many:
            one.close()
        with urllib.request.urlopen(f"{url}/healthz", timeout=20) as answer:
            assert answer.status == 200
        process.terminate()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and "Too many open files" not in errors, errors


def seconds_of(pid: int) -> float:
    """Of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_limit_of_files_is_raised_as_far_as_it_may_be(monkeypatch):
    limits = [1024, 4096]
    monkeypatch.setattr(connections.resource, "getrlimit", lambda kind: tuple(limits))
    monkeypatch.setattr(
        connections.resource, "setrlimit", lambda kind, wanted: limits.__setitem__(0, wanted[0])
    )
    assert connections.most_connections() == (1024 - 128) // 3
    connections.raise_file_limit()
    assert limits[0] == 4096 and connections.most_connections() == (4096 - 128) // 3
    limits[1] = resource.RLIM_INFINITY
    connections.raise_file_limit()
    assert limits[0] == 2048 * 3 + 128 and connections.most_connections() == 2048
    limits[0] = resource.RLIM_INFINITY
    connections.raise_file_limit()
    assert limits[0] == resource.RLIM_INFINITY and connections.most_connections() == 2048
    limits[0] = 200
    with pytest.raises(InputError, match="may open 200 files"):
        connections.most_connections()


def test_threads_that_decode_do_not_take_each_others_filters_of_warnings(monkeypatch):
    """The filters are the process's: put back by one thread, a cut image of another's was taken
    for a whole one."""

    def opened(stream, formats):
        time.sleep(0.0005)
        warnings.warn("Truncated File Read", stacklevel=1)  # as Pillow does
        return decode.Image.new("L", (9, 9))

    monkeypatch.setattr(decode.Image, "open", opened)
    monkeypatch.setattr(decode, "_settled", False)
    taken: list[int] = []

    def read() -> None:
        for i in range(100):
            try:
                decode.open_image(b"cut")
                taken.append(i)
            except InputError:
                continue

    with warnings.catch_warnings():
        decode.settle_warnings()
        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert taken == []
