"""scripts/serve.py and scripts/export_model.py as a user calls them."""

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT
from toy_model import LINES, drawing, write_toy_model

from synth.files import sha256_of

SERVE, EXPORT = (ROOT / "scripts" / f"{n}.py" for n in ("serve", "export_model"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An exported folder: the toy's ONNX file, made of these (useless) weights."""
    out = tmp_path_factory.mktemp("exported")
    (out / "model.safetensors").write_bytes(b"weights")
    write_toy_model(out / "model.onnx", sha256_of(out / "model.safetensors"))
    return out


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess:
    words = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("script", [SERVE, EXPORT])
def test_help_teaches_and_is_quick(script):
    before = os.times()
    done = run(script, "--help")
    assert done.returncode == 0 and "example: python scripts/" in done.stdout.replace("\n", " ")
    after = os.times()  # of the processor: the clock's depends on what else runs here
    spent_s = after.children_user + after.children_system
    assert spent_s - before.children_user - before.children_system < 4


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        (SERVE, "--model {0}/none", "no model"),
        (SERVE, "--model {0}/none.onnx", "no such file"),
        (SERVE, "--model {1}/model.onnx --precision half", "precision 'half'"),
        (SERVE, "--model {1} --max-requests 0", "--max-requests 0"),
        (SERVE, "--model {1} --receive-s 0", "--receive-s 0"),
        (SERVE, "--model {1} --keep {0} --keep-bytes 9", "--keep-bytes 9"),
        (SERVE, "--model {1} --keep {1}/model.onnx", "--keep"),
        (SERVE, "--model {1}/model.onnx --port 70000", "--port 70000"),
        (EXPORT, "--model {0} --out {0}/out", "no model"),
    ],
)
def test_a_wrong_input_is_one_clear_line(script, arguments, says, tmp_path, folder):
    done = run(script, *arguments.format(tmp_path, folder).split())
    assert done.returncode == 2 and says in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_weights_that_changed_get_a_new_export_which_fails_with_its_reason(folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    done = run(SERVE, "--model", tmp_path)
    assert done.returncode == 2 and "model.json" in done.stderr
    assert "export_model.py failed" in done.stderr and "Traceback" not in done.stderr


def test_a_real_process_told_to_end_answers_what_has_begun(folder):
    """Half of a request is there when SIGTERM comes; its rest comes afterwards."""
    words = [sys.executable, str(SERVE), "--model", str(folder), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(re.match(r"http://[\d.]+:(\d+): ", process.stdout.readline())[1])
        assert process.stdout.readline().startswith("computed in float32: ")  # not measured
        stream = io.BytesIO()
        drawing(LINES["十"]).save(stream, "PNG")
        image = base64.b64encode(stream.getvalue()).decode()
        body = json.dumps({"esun_uuid": "a", "image": image}).encode()
        one = socket.create_connection(("127.0.0.1", port), timeout=20)
        head = f"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        one.sendall(head.encode() + body[:60])
        time.sleep(0.3)  # it has come
        process.send_signal(signal.SIGTERM)
        time.sleep(1.0)  # longer than it lingers for connections that are still
        assert process.poll() is None
        limit = time.monotonic() + 20
        with pytest.raises(ConnectionRefusedError):
            while time.monotonic() < limit:
                socket.create_connection(("127.0.0.1", port), timeout=20).close()
                time.sleep(0.05)
        one.sendall(body[60:])
        raw = b""
        while piece := one.recv(4096):
            raw += piece
        one.close()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert raw.startswith(b"HTTP/1.1 200 OK") and "十".encode() in raw
    assert process.returncode == 0 and "unanswered" not in errors, errors


class Spy:
    """Prints, at the end of the process, what it had loaded."""

    CODE = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('LOADED', *sorted("
        "{m.split('.')[0] for m in sys.modules}), 'SETTLED', "
        "sys.modules['synth.decode']._settled))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )


def test_it_serves_without_torch_keeps_answers_and_ends_on_sigterm(folder, tmp_path):
    words = [sys.executable, "-c", Spy.CODE, str(SERVE), "--model", str(folder), "--port", "0"]
    process = subprocess.Popen(
        [*words, "--keep", str(tmp_path / "kept")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        url = re.match(r"(http://[\d.:]+): toy, 3 characters", process.stdout.readline())[1]
        stream = io.BytesIO()
        drawing(LINES["十"]).save(stream, "PNG")
        image = base64.b64encode(stream.getvalue()).decode()
        asked = {"esun_uuid": "a", "esun_timestamp": 1, "image": image, "retry": 0}
        request = urllib.request.Request(f"{url}/inference", json.dumps(asked).encode())
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["answer"] == "十"
        for path in ("/", "/docs", "/openapi.json", "/metrics", "/healthz"):
            with urllib.request.urlopen(url + path, timeout=20) as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
    loaded = set(out.split("LOADED")[1].split())
    assert out.split("SETTLED")[1].split() == ["True"]  # it decodes in threads
    assert {"flask", "openvino", "waitress"} <= loaded
    heavy = {"torch", "torchvision", "onnx", "onnxruntime", "pytorch_lightning", "nvidia", "pandas"}
    assert not loaded & heavy
    assert len(list((tmp_path / "kept").rglob("*_十.png"))) == 1


def test_it_ends_on_sigterm_before_it_serves(folder):
    """As the first process of a container it would ignore what it does not handle."""
    code = (
        "import runpy, sys, time\n"
        "import classifier.serve.launch as launch\n"
        "launch.onnx_of = lambda *_: (print('making', flush=True), time.sleep(60))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(SERVE), "--model", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout.readline() == "making\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130 and "Traceback" not in errors, errors
