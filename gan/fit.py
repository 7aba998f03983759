"""The GAN's training loop: glyphs, real images and a recogniser in, generator.safetensors out."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save

from gan.config import GanConfig
from gan.data import PairLoader
from gan.glyphs import Glyphs
from gan.processes import local_processes, rank, world
from gan.recogniser import Trained
from synth.canvas import to_float
from synth.files import has_checkpoint, write_text, write_whole
from synth.learning import quiet_lightning

if TYPE_CHECKING:
    from gan.lit import GanModule

_GRID_GLYPHS, _GRID_STYLES = 16, 6


def fit(
    out: Path,
    config: GanConfig,
    real: np.ndarray,
    real_char: np.ndarray,
    content: Glyphs,
    reference: Glyphs,
    recogniser: Trained,
    seed: int,
    devices: int = 1,
    compiled: bool = False,
) -> None:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import TensorBoardLogger

    from gan.checkpoints import CheckedCheckpoints, Keeper
    from gan.lit import GanModule
    from gan.progress import Grids, Metrics, Progress

    processes, first = world(devices), rank() == 0
    module = GanModule(config, real.shape[1], len(content.chars), recogniser.network, seed)
    loader = PairLoader(
        real,
        real_char,
        content,
        reference,
        config.batch_size,
        config.steps,
        seed,
        rank(),
        processes,
        config.style == "image",
    )
    last = out / "checkpoints" / "last.ckpt"
    resume = last if has_checkpoint(last) else None
    if resume:
        data = CheckedCheckpoints().load_checkpoint(resume)
        loader.start_step = int(data["steps_done"])
        print(f"{out}: going on at step {loader.start_step} of {config.steps}")
    if compiled:
        compile_networks(module)
    quiet_lightning()
    callbacks: list[pl.Callback] = []
    if first:
        grids = Grids(out, config, *_grid_inputs(content, real))
        callbacks += [grids, Metrics(out / "metrics.jsonl"), Progress(config)]
    # last: what a step shows is there before the checkpoint that no run goes back behind
    callbacks.append(Keeper(out, config))
    trainer = pl.Trainer(
        accelerator="auto",
        devices=local_processes(devices),
        num_nodes=processes // local_processes(devices),
        # each backward pass is of one of the two networks
        strategy="ddp_find_unused_parameters_true" if processes > 1 else "auto",
        precision=config.precision,
        max_epochs=1,
        max_steps=-1,
        plugins=[CheckedCheckpoints()],
        callbacks=callbacks,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
    )
    started = time.monotonic()
    try:
        trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    if module.steps_done < config.steps:
        raise RuntimeError(f"{out}: stopped at step {module.steps_done} of {config.steps}")
    if not first:
        return
    done = config.steps - loader.start_step
    if done:  # none where the kill came between the last checkpoint and the files below
        rate = keep_rate(out, done * config.batch_size, time.monotonic() - started)
        print(f"GAN: {done} steps, {rate}")
    if module.average.encoder is not None:
        buffer = io.BytesIO()
        np.save(buffer, read_styles(module.average.encoder, real))
        write_whole(out / "styles.npy", buffer.getvalue())
    write_whole(out / "generator.safetensors", save(on_cpu(module.average)))


def _grid_inputs(
    content: Glyphs, real: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fixed glyphs [G, 1, H, W], their characters [G], and real images [R, 1, H, W] for styles."""
    picked = np.linspace(0, len(content.images) - 1, _GRID_GLYPHS).astype(int)
    styles = np.linspace(0, len(real) - 1, _GRID_STYLES).astype(int)
    return (
        torch.from_numpy(to_float(content.images[picked]))[:, None],
        torch.from_numpy(content.char[picked]),
        torch.from_numpy(to_float(real[styles]))[:, None],
    )


@torch.no_grad()
def read_styles(encoder: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """[n, H, W] uint8 -> [n, 2, S] float32: mean and standard deviation of each image's style."""
    encoder, chunks = encoder.cpu().eval(), []
    for i in range(0, len(images), 512):
        mean, log_var = encoder(torch.from_numpy(to_float(images[i : i + 512]))[:, None])
        chunks.append(torch.stack([mean, (log_var / 2).exp()], 1))
    return torch.cat(chunks).numpy()


def compile_networks(module: GanModule) -> None:
    """Generator and discriminator through torch.compile; says so and leaves them as they are where
    this machine has no compiler."""
    import torch._dynamo

    where = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.compile(torch.nn.functional.softplus)(torch.zeros(64, device=where))
    except Exception as error:  # whatever a missing or broken compiler ends in
        line = " ".join(str(error).split())[:160]
        print(f"--compile: skipped, this machine cannot compile ({type(error).__name__}: {line})")
        return
    finally:
        torch._dynamo.reset()
    for network in (module.generator, module.discriminator):
        network.compile(dynamic=False)


def keep_rate(folder: Path, images: int, seconds: float) -> str:
    """Writes rates.json: images and seconds of this process; a resumed run has fewer of both. Apart
    from the results, which are the same every time. Returns it in words."""
    rate = images / max(seconds, 1e-9)
    values = {"images": images, "seconds": seconds, "images_per_second": rate}
    kept = {name: round(value, 1) for name, value in values.items()}
    write_text(folder / "rates.json", json.dumps(kept, indent=1))
    return f"{images:,} images in {seconds:.0f} s, {rate:.0f} images/s"


def on_cpu(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights as files keep them."""
    return {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
