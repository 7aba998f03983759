"""A finished run -> model.safetensors, model.json and model.onnx, for predicting and serving."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/export_model.py --model runs/classifier --check runs/test --out exported",
    )
    p.add_argument(
        "--model", type=Path, required=True, help="run folder, or any folder with a model.json"
    )
    p.add_argument(
        "--out", type=Path, default=None, help="folder to write to; default: the model's own"
    )
    p.add_argument(
        "--check",
        type=Path,
        default=None,
        help="store of labelled images to compare torch and ONNX on; default: strokes at random",
    )
    p.add_argument(
        "--own-code", action="store_true", help="import and run the layers that --replace put in"
    )
    return p


def main(args: Namespace) -> None:
    from classifier.convert import export_onnx
    from classifier.export import load_model
    from synth.files import write_whole
    from synth.store import Store

    model = load_model(args.model, args.own_code)
    check = Store.open(args.check) if args.check else None
    out = args.out or args.model
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() != args.model.resolve():
        for name in ("model.safetensors", "model.json"):
            write_whole(out / name, (args.model / name).read_bytes())
    made = export_onnx(model, out / "model.safetensors", out / "model.onnx", check)
    compared = made["compared"]
    print(f"{out / 'model.onnx'}: {len(model.card.alphabet)} characters and other")
    for name, row in compared.items():
        if isinstance(row, dict):
            figures = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items())
            print(f"  {name:5} on {compared['images']} images: {figures}")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
