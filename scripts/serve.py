"""A model over HTTP: the E.SUN 2021 call (POST /inference), a plain one (POST /v1/predict), and a
page to write on."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python scripts/serve.py --model runs/classifier --port 8000")
    p.add_argument(
        "--model",
        type=Path,
        required=True,
        help="run folder, exported folder, or .onnx file that export_model.py made; a folder "
        "without model.onnx gets one first, for which torch must be installed",
    )
    p.add_argument(
        "--own-code",
        action="store_true",
        help="import and run the layers that --replace put in, to make model.onnx; serving it does "
        "not need them",
    )
    p.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on, or a name: all its addresses; 0.0.0.0: all of this machine",
    )
    p.add_argument("--port", type=int, default=8000, help="0: any free one, which is printed")
    p.add_argument(
        "--precision",
        default="fast",
        help="fast: bf16 where the processor gains by it and export_model.py measured on "
        "labelled images that it changes and loses next to nothing, else f32; f32: as trained; "
        "bf16: whatever it costs, and an error where the processor does not compute in it",
    )
    p.add_argument(
        "--threads", type=int, default=None, help="of the network; null: the runtime decides"
    )
    p.add_argument(
        "--keep", type=Path, default=None, help="folder for images and answers; null: none is kept"
    )
    p.add_argument(
        "--keep-answers", type=int, default=100_000, help="the oldest go, a folder at a time"
    )
    p.add_argument(
        "--keep-bytes", type=int, default=10 * 2**30, help="of kept files; the oldest go likewise"
    )
    p.add_argument("--max-body-bytes", type=int, default=8 * 2**20, help="of a request")
    p.add_argument("--max-pixels", type=int, default=4_000_000, help="of an image")
    p.add_argument("--max-images", type=int, default=32, help="of a request, and of a batch")
    p.add_argument(
        "--max-requests", type=int, default=64, help="answered at once; one more gets 503 at once"
    )
    p.add_argument(
        "--deadline-s",
        type=float,
        default=1.0,
        help="from when a request has come whole to its answer, else 503",
    )
    p.add_argument(
        "--receive-s", type=float, default=30.0, help="for a request to come whole, then it is cut"
    )
    p.add_argument(
        "--max-held-bytes",
        type=int,
        default=256 * 2**20,
        help="of bodies that lie in files (TMPDIR), of all requests together; one beyond gets 503",
    )
    p.add_argument(
        "--grace-s", type=float, default=10.0, help="longest wait for the last answers at the end"
    )
    return p


def main(args: Namespace) -> None:
    # until the server has its own way to end: the first process of a container, which this may be,
    # is not ended by a signal that it does not handle
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # OpenVINO's converter of other formats, which no server needs, is a sixth of the start; its
    # package does without it where it cannot be imported
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
    from classifier.serve.launch import onnx_of, serve
    from classifier.serve.limits import Limits

    limits = Limits(
        args.max_body_bytes,
        args.max_pixels,
        args.max_images,
        args.max_requests,
        args.deadline_s,
        args.receive_s,
        args.max_held_bytes,
    )
    export = [str(Path(__file__).with_name("export_model.py")), "--model", str(args.model)]
    if args.own_code:
        export.append("--own-code")
    onnx = onnx_of(args.model, export)
    serve(
        onnx,
        args.host,
        args.port,
        limits,
        args.precision,
        args.threads,
        args.keep,
        args.keep_answers,
        args.keep_bytes,
        args.grace_s,
    )


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
