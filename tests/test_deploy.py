"""docs/DEPLOY.md: what it says of the service's answers, and what its commands leave open."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from flask.testing import FlaskClient
from toy_model import CROSS, LINES, drawing

from classifier.onnx import load_onnx
from classifier.serve.app import Service, create_app
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics

PAGE = (ROOT / "docs" / "DEPLOY.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.fixture
def client(onnx: Path) -> FlaskClient:
    limits = Limits(deadline_s=60)  # however busy the machine is
    return create_app(Service(load_onnx(onnx), limits, Metrics())).test_client()


def test_the_examples_of_answers_have_the_services_fields(client: FlaskClient) -> None:
    files = []
    for name, strokes in (("a.png", LINES["十"]), ("b.png", CROSS)):
        stream = io.BytesIO()
        drawing(strokes).save(stream, "PNG")
        files.append((io.BytesIO(stream.getvalue()), name))
    example = json.loads(blocks("json")[0])
    answer = client.post("/v1/predict", data={"image": files, "top": "2"}).json
    assert set(answer) == set(example) == {"predictions"}
    for said, shown in zip(answer["predictions"], example["predictions"], strict=True):
        assert list(said) == list(shown) and said["name"] == shown["name"]
        assert [list(one) for one in said["top"]] == [list(one) for one in shown["top"]]
    assert [shown["label"] == "other" for shown in example["predictions"]] == [False, True]


def test_the_call_reaches_the_service_whatever_the_image_weighs(
    client: FlaskClient, tmp_path: Path
) -> None:
    """The command as it stands, to the pipe into curl; one argument may have 128 KiB on Linux."""
    drawing(LINES["一"], size_px=400, width_px=27).save(tmp_path / "a.png", "BMP")
    assert (tmp_path / "a.png").stat().st_size > 128 * 1024
    (command,) = [block for block in blocks("") if "esun_uuid" in block]
    sent, into = command.rsplit("|", 1)
    assert into.split() == ["curl", "-d", "@-", "http://127.0.0.1:8000/inference"]
    sent = sent.replace("python3", shlex.quote(sys.executable))
    body = subprocess.run(["sh", "-c", sent], cwd=tmp_path, capture_output=True, check=True).stdout
    example = json.loads(blocks("json")[1])
    answer = client.post(
        "/inference", data=body, content_type="application/x-www-form-urlencoded"
    ).json
    assert list(answer) == list(example)
    assert answer["answer"] == "一" and answer["esun_uuid"] == example["esun_uuid"]


def test_no_command_opens_the_service_to_other_machines() -> None:
    texts = [*blocks(""), (ROOT / "Dockerfile").read_text("utf-8")]
    runs = [line for text in texts for line in text.splitlines() if "docker run --rm" in line]
    assert len(runs) == 3 and all(" -p 127.0.0.1:8000:8000 " in line for line in runs)
    assert PAGE.index("So publish it on 127.0.0.1") < PAGE.index("docker run")


def test_a_container_of_the_manifest_has_no_rights() -> None:
    deployment, _ = yaml.safe_load_all(blocks("yaml")[0])
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
