"""The service against what it must beat, as ratios of one run: latency, load, start.

    python benchmarks/serving.py --model runs/classifier --images DIR

Model: one image through our engine against onnxruntime, OpenVINO and torch.compile at their own
defaults, interleaved. HTTP: our server and the peers, one after the other, each asked by this
process on the same cores: one client, eight clients, and for ours an open loop at 80 % of what it
can do. Same weights; the answers are compared. The peers are

    flask     Flask and eager torch, by the same production server as ours (waitress)
    fastapi   FastAPI, uvicorn and eager torch
    litserve  LitServe and eager torch, batches of 8

They live in an environment of their own:

    python -m venv runs/peers
    runs/peers/bin/pip install -c constraints.txt -e ".[serve,export]" \\
        onnxruntime fastapi uvicorn litserve
    runs/peers/bin/python benchmarks/serving.py ...
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PEERS = {"flask": "flask", "fastapi": "fastapi", "litserve": "litserve"}  # name -> package
PACKAGES = ("torch", "openvino", "onnxruntime", "flask", "waitress", "fastapi", "uvicorn")
START_LIMIT_S = 120


@dataclass(frozen=True)
class Row:
    """One claim: ours, the limit, and whether it holds."""

    claim: str
    ours: str
    peer: str
    ratio: float
    limit: str
    holds: bool


# ---- the model alone ----


def engines(onnx: Path, folder: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Name -> [n, H, W] uint8 -> probabilities. Peers at their own defaults."""
    import openvino as ov

    from classifier.onnx import load_onnx

    ours = load_onnx(onnx, "fast")
    found = {"ours": ours.probabilities, "ours again": load_onnx(onnx, "fast").probabilities}
    compiled = ov.Core().compile_model(onnx, "CPU")
    found["OpenVINO"] = lambda images: compiled([images])[0]
    if find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        found["onnxruntime"] = lambda images: session.run(None, {"images": images})[0]
    import torch

    from classifier.export import load_model
    from synth.canvas import to_float

    network = load_model(folder).network

    def by(run: Callable) -> Callable[[np.ndarray], np.ndarray]:
        def answer(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return run(torch.from_numpy(to_float(images))[:, None]).softmax(1).numpy()

        return answer

    found["torch eager"] = by(network)
    try:
        compiled_network = torch.compile(network)
        run = by(compiled_network)
        run(np.zeros((1, 64, 64), np.uint8))
        found["torch.compile"] = run
    except Exception as error:  # no C++ compiler here
        print(f"torch.compile: left out ({type(error).__name__})")
    return found


def latencies(
    found: dict[str, Callable[[np.ndarray], np.ndarray]], images: np.ndarray, rounds: int
) -> dict[str, float]:
    """Median seconds for one image, the engines by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for i in range(-5, rounds):
        one = images[i % len(images)][None]
        for name, run in found.items():
            began = time.perf_counter()
            run(one)
            if i >= 0:
                seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(values)) for name, values in seconds.items()}


# ---- servers ----


class Running:
    """A server in a process of its own, from start to first answer, and its end."""

    def __init__(self, words: list[str], port: int, path: str, body: bytes) -> None:
        self.port, self.path = port, path
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  closed by `end`
        began = time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, env=environment)
        while True:
            try:
                self.first = ask(http.client.HTTPConnection("127.0.0.1", port), path, body)
                break
            except (OSError, http.client.HTTPException, ValueError):
                if self.process.poll() is not None or time.monotonic() > began + START_LIMIT_S:
                    self.log.seek(0)
                    text = self.log.read().decode(errors="replace")
                    raise RuntimeError(f"{words} did not start:\n{text}") from None
                time.sleep(0.01)
        self.start_s = time.monotonic() - began

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> str:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    read = answer.read()
    if answer.status != 200:
        raise ValueError(f"{answer.status}: {read[:200]!r}")
    return json.loads(read)["answer"]


def closed_loop(server: Running, bodies: list[bytes], clients: int, requests: int):
    """-> sorted seconds a request, requests a second, and the answers in order of the bodies."""
    seconds: list[float] = []
    answers: dict[int, str] = {}
    lock = threading.Lock()
    numbers = iter(range(requests))

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            began = time.perf_counter()
            answer = ask(connection, server.path, bodies[number % len(bodies)])
            seconds.append(time.perf_counter() - began)
            answers[number % len(bodies)] = answer

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(seconds) / (time.perf_counter() - began)
    return np.sort(seconds), rate, answers


def open_loop(server: Running, bodies: list[bytes], rate: float, requests: int):
    """Requests at fixed moments, whatever the answers. -> seconds from the moment each was due to
    its answer, and how many were lost."""
    seconds, lost = [], []
    lock = threading.Lock()
    numbers = iter(range(requests))
    began = time.perf_counter() + 0.2

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            due = began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                ask(connection, server.path, bodies[number % len(bodies)])
                seconds.append(time.perf_counter() - due)
            except (OSError, ValueError, http.client.HTTPException) as error:
                lost.append(repr(error))
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.sort(seconds), lost


# ---- the run ----


def main() -> int:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--model", type=Path, required=True, help="finished run with the compact network"
    )
    p.add_argument("--images", type=Path, required=True, help="folder of images to ask about")
    p.add_argument("--requests", type=int, default=3000, help="closed loop, each server")
    p.add_argument("--open-requests", type=int, default=20_000, help="open loop, ours")
    p.add_argument("--rounds", type=int, default=1000, help="of the model alone")
    p.add_argument("--port", type=int, default=8321, help="first of the ports used")
    args = p.parse_args()
    sys.path.insert(0, str(ROOT))
    rows = measure(args)
    print(f"\n{'claim':44} {'ours':>12} {'against':>24} {'ratio':>7}  limit")
    for row in rows:
        mark = "" if row.holds else "   MISSED"
        print(f"{row.claim:44} {row.ours:>12} {row.peer:>24} {row.ratio:7.2f}  {row.limit}{mark}")
    return 0 if all(row.holds for row in rows) else 1


def measure(args: argparse.Namespace) -> list[Row]:
    from classifier.serve.launch import onnx_of
    from synth.canvas import Canvas
    from synth.decode import decode

    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    print(", ".join(f"{name} {_version(name)}" for name in (*PACKAGES, "litserve")))
    export = [str(ROOT / "scripts" / "export_model.py"), "--model", str(args.model)]
    onnx = onnx_of(args.model, export)
    files = [f.read_bytes() for f in sorted(args.images.rglob("*.png"))[:400]]
    bodies = [
        json.dumps(
            {
                "esun_uuid": str(i),
                "esun_timestamp": int(time.time()),
                "image": base64.b64encode(file).decode(),
                "retry": 2,
            }
        ).encode()
        for i, file in enumerate(files)
    ]
    rows: list[Row] = []

    images = np.stack([decode(file, Canvas()) for file in files])
    seconds = latencies(engines(onnx, args.model), images, args.rounds)
    for name, value in seconds.items():
        print(f"  model, one image, {name:14} {1e3 * value:7.3f} ms")
    print(f"  A/A: {seconds['ours again'] / seconds['ours']:.3f}")
    others = {k: v for k, v in seconds.items() if k not in ("ours", "ours again", "torch eager")}
    best = min(others, key=others.get)
    rows.append(_at_most("model latency, one image", seconds["ours"], best, others[best], 1.0))
    began = time.perf_counter()
    for file in files:
        decode(file, Canvas())
    decode_s = (time.perf_counter() - began) / len(files)
    print(f"  decode and normalise {1e3 * decode_s:.3f} ms")

    serve = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--model", str(onnx)]
    ours = Running([*serve, "--port", str(args.port)], args.port, "/inference", bodies[0])
    try:
        one, _, answers = closed_loop(ours, bodies, 1, args.requests)
        p50, alone = float(np.median(one)), decode_s + seconds["ours"]
        rows.append(_at_most("HTTP p50, 1 client", p50, "decode + model", alone, 1.5))
        rows.append(_at_most("HTTP p50, 1 client", p50, "5 ms", 0.005, 1.0))
        eight, rate, _ = closed_loop(ours, bodies, 8, args.requests)
        p99 = float(np.percentile(eight, 99))
        rows.append(_at_most("HTTP p99, 8 clients", p99, "25 ms", 0.025, 1.0))
        many, lost = open_loop(ours, bodies, 0.8 * rate, args.open_requests)
        worst = float(many.max()) if len(many) else float("inf")
        print(
            f"  open loop at {0.8 * rate:.0f}/s: {len(many)} answered, {len(lost)} lost, "
            f"p50 {1e3 * np.median(many):.1f}, p99 {1e3 * np.percentile(many, 99):.1f} ms"
        )
        rows.append(_at_most("open loop, slowest request", worst, "1 s", 1.0, 1.0))
        rows.append(
            Row("open loop, lost requests", str(len(lost)), "0", float(len(lost)), "0", not lost)
        )
    finally:
        ours.end()

    wanted = {"flask": 3.0, "fastapi": 2.0, "litserve": 1.0}
    for number, (name, package) in enumerate(PEERS.items(), 1):
        if find_spec(package) is None or find_spec("torch") is None:
            print(f"  {name}: not installed, left out; see --help")
            continue
        port = args.port + number
        script = Path(__file__).parent / "peers" / f"{name}_torch.py"
        words = [sys.executable, str(script), str(args.model), str(port)]
        peer = Running(words, port, "/inference", bodies[0])
        try:
            _, peer_rate, peer_answers = closed_loop(peer, bodies, 8, args.requests)
        finally:
            peer.end()
        same = np.mean([answers[i] == peer_answers[i] for i in answers if i in peer_answers])
        print(f"  {name}: the same answer to {same:.2%} of the images, start {peer.start_s:.1f} s")
        ratio = rate / peer_rate
        limit = wanted[name]
        rows.append(
            Row(
                "throughput, 8 clients",
                f"{rate:.0f}/s",
                f"{name} {peer_rate:.0f}/s",
                ratio,
                f">= {limit:g}" if name != "litserve" else "> 1",
                ratio >= limit,
            )
        )
        if name == "flask":
            rows.append(
                _at_most("start to first answer", ours.start_s, "flask + torch", peer.start_s, 0.5)
            )
    return rows


def _at_most(claim: str, ours: float, peer: str, against: float, limit: float) -> Row:
    ratio = ours / against
    shown = f"{peer} {1e3 * against:.2f} ms" if not peer[0].isdigit() else peer
    return Row(claim, f"{1e3 * ours:.2f} ms", shown, ratio, f"<= {limit:g}", ratio <= limit)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    raise SystemExit(main())
