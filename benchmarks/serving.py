"""The service against what it must beat, as ratios of contestants by turns in one run.

    python benchmarks/serving.py --model runs/classifier --images DIR

Model: one image, and a batch, through our engine against the best of onnxruntime, OpenVINO, eager
torch and torch.compile at their own defaults; before they are timed their probabilities are held
against ours. HTTP: our server and the peers, all started, asked by this process on the same cores,
a round each in turn, in an order drawn anew each round. Same weights; answers are compared with a
bound. Every ratio is the median over the rounds, with the lowest and the highest; "ours again" is a
second one of ours (A/A): what it differs by is what a measurement is worth. The peers are

    flask     Flask and eager torch, by the same production server as ours (waitress)
    fastapi   FastAPI, uvicorn and eager torch
    litserve  LitServe and eager torch, batches of 8

Each is started twice, as it is and with one thread of torch's an answer ("1 thread"), which may be
better where several answer at once on few cores; ours is held against the better one. They live in
an environment of their own:

    python -m venv runs/peers
    runs/peers/bin/pip install -c constraints.txt -e ".[serve,export]" \\
        onnxruntime fastapi uvicorn litserve
    runs/peers/bin/python benchmarks/serving.py ...

A missed limit: exit code 1. A/A out of its bounds, when the machine is too busy for any ratio to
mean something: exit code 2; likewise a contestant that is not there, which ends the run, unless
--without NAME leaves it out.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from serving_claims import Row, at_most, same_again, same_answers, times_faster
from serving_engines import LEAST_CALLS, Engine, engines, latencies, require_same
from serving_load import ROOT, Running, closed_loop, open_loop
from timing import Rates, machine

sys.path.insert(0, str(ROOT))
PEERS = {"flask": 3.0, "fastapi": 2.0, "litserve": 1.0}  # -> times their throughput that ours is
ONE_THREAD = ", 1 thread"  # behind a peer's name: torch computes an answer in one
ENGINES = ("onnxruntime", "torch.compile")  # those that may not be there
PACKAGES = ("torch", "openvino", "onnxruntime", "flask", "waitress", "fastapi", "litserve")
SAME_F32, SAME_BF16 = 0.999, 0.99  # least share of equal answers, torch in float32 against ours
MAX_IMAGES = 400
BATCH = 16  # images


def missing(without: Sequence[str]) -> list[str]:
    """Contestants that this environment has not, and that were not left out by name."""
    there = {
        "flask": ("flask", "torch"),
        "fastapi": ("fastapi", "uvicorn", "torch"),
        "litserve": ("litserve", "torch"),
        "onnxruntime": ("onnxruntime",),
        "torch.compile": ("torch",),
    }
    return [
        name
        for name, packages in there.items()
        if name not in without and not all(find_spec(package) for package in packages)
    ]


# ---- the run ----


def options() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--model", type=Path, required=True, help="finished run, or exported folder")
    p.add_argument("--images", type=Path, required=True, help="folder of images to ask about")
    p.add_argument("--rounds", type=int, default=7, help="of all contestants in turn, from 5")
    p.add_argument("--requests", type=int, default=600, help="closed loop, each server and round")
    p.add_argument("--open-requests", type=int, default=20_000, help="open loop, ours")
    p.add_argument("--calls", type=int, default=150, help="of the model alone, a round")
    p.add_argument("--port", type=int, default=8321, help="first of the ports used")
    p.add_argument(
        "--without",
        nargs="*",
        default=[],
        choices=[*PEERS, *ENGINES],
        metavar="NAME",
        help=f"contestants to leave out, of {', '.join((*PEERS, *ENGINES))}",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = options().parse_args(argv)
    if args.rounds < 5:
        print(f"--rounds {args.rounds}: 5 or more", file=sys.stderr)
        return 2
    absent = missing(args.without)
    for name in absent:
        print(f"{name}: MISSING; install it (see --help), or --without {name}", file=sys.stderr)
    if absent:
        return 2
    from synth.errors import InputError

    try:
        rows = measure(args)
    except (InputError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{'claim':34} {'ours':>10} {'against':>26} {'ratio':>7} {'rounds':>14}  limit")
    for row in rows:
        print(row)
    for name in args.without:
        print(f"{name}: left out, as asked")
    if not all(row.holds for row in rows if row.is_same_again):
        print("A/A failed: the machine is too busy for the ratios to mean anything")
        return 2
    return 0 if all(row.holds for row in rows) else 1


def measure(args: argparse.Namespace) -> list[Row]:
    from classifier.onnx import load_onnx
    from classifier.predict import find_images
    from classifier.serve.launch import onnx_of
    from synth.decode import decode

    print(machine(PACKAGES))
    export = [str(ROOT / "scripts" / "export_model.py"), "--model", str(args.model)]
    onnx = onnx_of(args.model, export)
    ours = load_onnx(onnx, "fast")
    print(f"ours: {ours.precision}" + (f" ({ours.not_fast})" if ours.not_fast else ""))
    files = [f.read_bytes() for f in find_images([args.images])[:MAX_IMAGES]]
    canvas = ours.card.canvas
    images = np.stack([decode(file, canvas) for file in files])
    bodies = [_body(i, file) for i, file in enumerate(files)]

    def alone(number: int) -> float:
        """Seconds to decode one image and to ask the model."""
        began = time.perf_counter()
        ours.probabilities(decode(files[number % len(files)], canvas)[None])
        return time.perf_counter() - began

    rows = _alone(engines(onnx, args.model, args.without), images, args)
    words = _words(args)
    rows += starts(words, args, bodies[0])
    running: dict[str, Running] = {}
    try:
        for number, name in enumerate(words):
            running[name] = Running(words[name], args.port + number, "/inference", bodies[0])
        rows += _over_http(running, bodies, alone, ours.precision, args)
    finally:
        for server in running.values():
            server.end()
    return rows


def _alone(found: Mapping[str, Engine], images: np.ndarray, args: argparse.Namespace) -> list[Row]:
    """The model without a server: one image at a time, and BATCH."""
    from classifier.convert import MAX_DIFFERENCE

    for batch in (1, BATCH):
        require_same(found, images, batch, MAX_DIFFERENCE, SAME_BF16)
    rows = []
    for batch, calls in ((1, args.calls), (BATCH, args.calls // BATCH)):
        shown = "one image" if batch == 1 else f"{batch} images"
        seconds = latencies(found, images, args.rounds, max(LEAST_CALLS, calls), batch)
        for name, value in seconds.items():
            print(f"  model, {shown}, {name:14} {1e3 * value.median:7.3f} ms")
        rows.append(same_again(f"model, {shown}, A/A", seconds["ours"], seconds["ours again"]))
        peers = [v for name, v in seconds.items() if not name.startswith("ours")]
        best = min(peers, key=lambda v: v.median)
        for name in ("ours", "ours, float32"):
            claim = f"model, {shown}{name.removeprefix('ours')}"
            rows.append(at_most(claim, seconds[name], best.name, best, 1.0))
    return rows


def _words(args: argparse.Namespace) -> dict[str, list[str]]:
    """The command that starts each server; the ports are in the order of the names. Ours is told
    the folder, as the manual tells it: its start looks whether model.onnx fits the weights."""
    serve = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--model", str(args.model)]
    words = {"ours": serve, "ours again": serve, "ours, float32": [*serve, "--precision", "f32"]}
    for name in PEERS:
        if name not in args.without:
            script = Path(__file__).parent / "peers" / f"{name}_torch.py"
            words[name] = [sys.executable, str(script), str(args.model)]
            # torch.set_num_threads would hold for the thread that calls it, not for the server's
            words[name + ONE_THREAD] = ["env", "OMP_NUM_THREADS=1", *words[name]]
    return {
        name: [*these, *(["--port"] if name.startswith("ours") else []), str(args.port + number)]
        for number, (name, these) in enumerate(words.items())
    }


def starts(words: Mapping[str, list[str]], args: argparse.Namespace, body: bytes) -> list[Row]:
    """From the command to the first answer, ours and an app that imports torch, by turns."""
    peer = next((name for name in PEERS if name in words), None)
    if peer is None:
        return []
    ports = {name: args.port + number for number, name in enumerate(words)}
    seconds: dict[str, list[float]] = {"ours": [], peer: []}
    for turn in range(-1, args.rounds):
        for name in seconds:
            server = Running(words[name], ports[name], "/inference", body)
            server.end()
            if turn >= 0:
                seconds[name].append(server.start_s)
    ours, other = (Rates(name, tuple(values)) for name, values in seconds.items())
    return [at_most("start to first answer", ours, f"{peer} + torch", other, 0.5)]


def _over_http(
    running: Mapping[str, Running],
    bodies: Sequence[bytes],
    alone: Callable[[int], float],
    precision: str,
    args: argparse.Namespace,
) -> list[Row]:
    names, ours = list(running), running["ours"]
    rates: dict[str, list[float]] = {name: [] for name in names}
    answers: dict[str, dict[int, str]] = {name: {} for name in names}
    p50, p99, by_hand = [], [], []
    rng = random.Random(1)
    for turn in range(-1, args.rounds):
        for name in rng.sample(names, len(names)):
            spent, rate, said = closed_loop(running[name], bodies, 8, args.requests)
            answers[name] |= said
            if turn >= 0:
                rates[name].append(rate)
                if name == "ours":
                    p99.append(float(np.percentile(spent, 99)))
        spent, _, _ = closed_loop(ours, bodies, 1, args.requests)
        hand = [alone(i) for i in range(args.requests)]
        if turn >= 0:
            p50.append(float(np.median(spent)))
            by_hand.append(float(np.median(hand)))
    found = {name: Rates(name, tuple(values)) for name, values in rates.items()}
    for each in found.values():
        print(f"  throughput, 8 clients, {each.name:20} {each.median:7.0f}/s")
    one, eight, hand_s = (Rates("", tuple(x)) for x in (p50, p99, by_hand))

    def limit(seconds: float) -> Rates:
        return Rates("", (seconds,) * args.rounds)

    rows = [
        at_most("HTTP p50, 1 client", one, "decode + model", hand_s, 1.5),
        at_most("HTTP p50, 1 client", one, "limit", limit(0.005), 1.0),
        at_most("HTTP p99, 8 clients", eight, "limit", limit(0.025), 1.0),
        same_again("throughput, 8 clients, A/A", found["ours"], found["ours again"]),
    ]
    for kind, least in (("ours", SAME_BF16), ("ours, float32", SAME_F32)):
        if kind == "ours" and precision == "f32":
            least = SAME_F32
        for peer, times in PEERS.items():
            if peer not in found:
                continue
            shown = "" if kind == "ours" else ", float32"
            better = max(found[peer], found[peer + ONE_THREAD], key=lambda rates: rates.median)
            said = answers[better.name]
            rows.append(times_faster(f"throughput{shown}", found[kind], better, times))
            rows.append(
                same_answers(f"same answers{shown}", answers[kind], better.name, said, least)
            )
    rate = 0.8 * found["ours"].median
    many, lost = open_loop(ours, bodies, rate, args.open_requests)
    worst = float(many.max()) if len(many) else float("inf")
    middle, late = (np.percentile(many, q) if len(many) else worst for q in (50, 99))
    print(
        f"  open loop at {rate:.0f}/s: {len(many)} answered, {len(lost)} lost, "
        f"p50 {1e3 * middle:.1f}, p99 {1e3 * late:.1f} ms"
    )
    worst_s = Rates("", (worst,))
    rows.append(at_most("open loop, slowest request", worst_s, "limit", Rates("", (1.0,)), 1.0))
    is_whole = not lost and len(many) == args.open_requests
    rows.append(Row("open loop, lost", str(len(lost)), "none", (float(len(lost)),), "0", is_whole))
    return rows


def _body(number: int, file: bytes) -> bytes:
    """The E.SUN 2021 call (POST /inference)."""
    call = {
        "esun_uuid": str(number),
        "esun_timestamp": int(time.time()),
        "image": base64.b64encode(file).decode(),
        "retry": 2,
    }
    return json.dumps(call).encode()


if __name__ == "__main__":
    raise SystemExit(main())
