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
        help="store of labelled images to compare torch and ONNX on, its test images, or its "
        "validation images where it has none; null: strokes at random, which say nothing of what "
        "bf16 costs: such a file is served in float32",
    )
    p.add_argument(
        "--own-code", action="store_true", help="import and run the layers that --replace put in"
    )
    return p


def main(args: Namespace) -> None:
    from classifier.convert import export_onnx
    from classifier.export import load_model
    from classifier.onnx import why_not_fast
    from synth.files import write_whole
    from synth.store import Store

    model = load_model(args.model, args.own_code)
    check = Store.open(args.check) if args.check else None
    out = args.out or args.model
    # first, for it is checked: a model that cannot be exported leaves nothing behind
    made = export_onnx(model, args.model / "model.safetensors", out / "model.onnx", check)
    if out.resolve() != args.model.resolve():
        for name in ("model.safetensors", "model.json"):
            write_whole(out / name, (args.model / name).read_bytes())
    compared = made["compared"]
    print(f"{out / 'model.onnx'}: {len(model.card.alphabet)} characters and other")
    shown = f"{compared['images']} {compared['split'] or 'made-up'} images"
    for name, row in compared.items():
        if isinstance(row, dict):
            figures = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items())
            print(f"  {name:5} on {shown}: {figures}")
    reason = why_not_fast(made)
    print(f"  served in {f'float32: {reason}' if reason else 'bf16, unless asked otherwise'}")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
