"""What interrupts a run in a test, and what no file may get to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest


class Stop(Exception):
    """What a test interrupts a run with."""


class Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.mark,))


def stop_gan_after(step: int) -> AbstractContextManager[None]:
    """The GAN run in it stops after that step, and after its checkpoint where it has one."""
    from gan.checkpoints import Keeper

    return _stop(Keeper, "on_train_batch_end", lambda _, module: module.steps_done == step)


def stop_classifier_after(step: int) -> AbstractContextManager[None]:
    """The classifier run in it stops after that step, the last of an epoch, and its checkpoint."""
    from classifier.progress import Saver

    return _stop(Saver, "on_train_epoch_end", lambda trainer, _: trainer.global_step == step)


@contextmanager
def _stop(
    callback: type,
    hook: str,  # after which it stops
    reached: Callable[[Any, Any], bool],  # asked with Lightning's trainer and the module
) -> Iterator[None]:
    """Fails where what is in it ends without having been stopped."""
    whole = getattr(callback, hook)

    def stopping(self: Any, trainer: Any, module: Any, *rest: Any) -> None:
        whole(self, trainer, module, *rest)
        if reached(trainer, module):
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(callback, hook, stopping)
        yield
