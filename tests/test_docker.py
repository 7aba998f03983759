"""The image's recipe: it installs and copies all that the serving process needs, and no torch.

No container runtime is asked for: the recipe is read, and held against what a process loads.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from toy_model import write_toy_model

RECIPE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
# used by others only where they are there: an environment of the list alone serves without them
NOT_NEEDED = {
    "inkfill",
    "setuptools",
    "pip",
    "absl-py",
    "packaging",
    "typeshed-client",
    "typing-extensions",
}


def installed() -> set[str]:
    """What the recipe's pip names, and what those need."""
    words = re.search(r"pip install (.*)", RECIPE)[1].split()
    waiting = [w for w in words if not w.startswith("-") and w != "constraints.txt"]
    found: set[str] = set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found


def test_all_that_serving_loads_is_installed(tmp_path: Path):
    """Loaded in a process that serves a page with its fonts, an answer and the nearest
    glyphs."""
    onnx = write_toy_model(tmp_path / "toy.onnx")
    code = f"""
import io, runpy, sys, time
from pathlib import Path
runpy.run_path({str(ROOT / "scripts" / "serve.py")!r})
from classifier.onnx import load_onnx
from classifier.serve import launch
from classifier.serve.app import Service, create_app
from classifier.serve.nearest import drawn
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from synth.decode import encode
from synth.page_fonts import page_fonts
import numpy as np
service = Service(load_onnx(Path({str(onnx)!r})), Limits(), Metrics())
client = create_app(service).test_client()
drawn(service.model.card.alphabet)
image = np.zeros((64, 64), np.uint8)
image[30:34, 8:56] = 255
assert page_fonts(service.model.card.alphabet.chars)
answer = client.post("/v1/predict", data={{"image": (io.BytesIO(encode(image)), "a.png")}})
assert answer.status_code == 200 and client.get("/").status_code == 200
print(*{{m.split(".")[0] for m in sys.modules}})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    where = packages_distributions()
    loaded = {canonicalize_name(d) for m in done.stdout.split() for d in where.get(m, [])}
    assert {"flask", "openvino", "numpy"} <= loaded
    assert loaded - NOT_NEEDED <= installed()


def test_no_torch_and_no_root():
    names = installed()
    assert not names & {"torch", "torchvision", "pytorch-lightning", "onnx", "inkfill"}
    assert not [name for name in names if name.startswith("nvidia")]  # see scripts/licences.toml
    assert re.search(r"^USER inkfill$", RECIPE, re.MULTILINE)


def entrypoint() -> list[str]:
    return json.loads(re.search(r"^ENTRYPOINT (.*)$", RECIPE, re.MULTILINE)[1])


def stand_in(folder: Path, script: str) -> dict[str, str]:
    """The environment in which the shell script is what the entry point finds as `python`."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_the_first_process_is_the_service_so_that_signals_reach_it(tmp_path: Path):
    """A shell in its place would end at once, or hold the signal back until it is killed."""
    environment = stand_in(tmp_path, "trap 'echo ending; exit 0' TERM; echo $$; sleep 20 & wait")
    with subprocess.Popen(
        entrypoint(), env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout.readline() == f"{process.pid}\n"
            process.terminate()
            assert process.stdout.readline() == "ending\n" and process.wait(10) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):  # on a busy machine all have ended
                os.killpg(process.pid, signal.SIGKILL)  # its `sleep`, too


def test_options_of_the_service_follow_the_image(tmp_path: Path):
    """As `docker run image --keep /kept` gives them, on the platform's port where it names one."""
    environment = stand_in(tmp_path, "printf '%s\\n' \"$@\"")
    fixed = ["scripts/serve.py", "--model", "/model", "--host", "0.0.0.0", "--port"]
    for options, port in ((["--keep", "/a folder"], ""), ([], "9000")):
        done = subprocess.run(
            [*entrypoint(), *options],
            env=environment | ({"PORT": port} if port else {}),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == [*fixed, port or "8000", *options]


def test_what_is_copied_is_there_and_not_ignored():
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = re.findall(r"^COPY (\S+) ", RECIPE, re.MULTILINE)
    assert {"synth", "classifier", "assets/fonts"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists() and f"!{source}" in allowed, source
    assert allowed[0] == "*"
