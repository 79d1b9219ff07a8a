"""The LoRA pipeline inside the image: a correct trainer, an adapter that loads, and a recorder that changes no bit."""

import json
import os
from pathlib import Path

import pytest
import yaml

from harness.core.elementwise import diff_files
from harness.core.experiment import parse_experiment
from harness.host.builder import build
from harness.host.inputs import materialise
from harness.host.store import open_store

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
IMAGE_USER = "1000:1000"


@pytest.fixture(scope="module")
def image(client):
    return build(client, "cpu", ROOT, open_store(None, os.environ), print).engine_id


@pytest.fixture(scope="module")
def trained(client, shared_project):
    """`tiny`, certified; its folder and the prepared inputs that the cache keeps."""
    answer = shared_project.harness("certify", "tiny", RUNNER="docker")
    assert answer.code == 0, answer.out + answer.err
    return shared_project.latest("tiny")


def run(client, image, argv, mounts, **environment):
    """Run a command in a container without network; its output."""
    return client.containers.run(
        image, argv, network_mode="none", read_only=True, user=IMAGE_USER, working_dir="/code", remove=True,
        tmpfs={"/tmp": "rw,exec,mode=1777"},
        environment={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        volumes={str(outside): {"bind": inside, "mode": mode} for outside, inside, mode in mounts},
        stdout=True, stderr=False,
    ).decode()  # fmt: skip


@pytest.fixture(scope="module")
def prepared(client, image, trained, tmp_path_factory):
    """The prepared inputs of `tiny`, made again by its own command."""
    import os

    experiment = parse_experiment((ROOT / "pipelines" / "experiments" / "tiny.yaml").read_text(), "tiny.yaml")
    folder = tmp_path_factory.mktemp("prepared")
    folder.chmod(0o777)
    wordnet = materialise(
        experiment.inputs["wordnet"].named("wordnet"), open_store(None, os.environ), ROOT, print
    )
    argv = "python pipelines/lora/prepare.py --config /config.json --inputs /inputs --output /prepared".split()
    mounts = [
        (trained / "code", "/code", "ro"), (trained / "config.json", "/config.json", "ro"),
        (wordnet, "/inputs/wordnet", "ro"), (folder, "/prepared", "rw"),
    ]  # fmt: skip
    run(client, image, argv, mounts)
    return folder


def test_on_identical_batches_the_losses_agree_with_the_trainer_of_transformers(client, image, trained, prepared):
    argv = ["python", "tests/integration/parity_trainer.py", "--config", "/config.json", "--prepared", "/prepared"]
    mounts = [
        (trained / "code", "/code", "ro"), (trained / "config.json", "/config.json", "ro"),
        (prepared, "/prepared", "ro"),
    ]  # fmt: skip
    said = run(client, image, argv, mounts)
    result = json.loads(said)
    assert result["steps"] == 20 and result["parity"]
    assert result["max_loss_difference"] <= result["noise"]["loss"] < 1e-5
    assert len(set(result["trainer"])) > 10, "the curve moves"


def test_the_adapter_loads_with_peft_and_generates(client, image, trained, prepared):
    argv = [
        "python", "pipelines/lora/generate.py", "--prepared", "/prepared", "--adapter", "/adapter",
        "--config", "/config.json", "--prompt", "Define: dog (noun)", "--max-new-tokens", "12",
    ]  # fmt: skip
    mounts = [
        (trained / "code", "/code", "ro"), (trained / "config.json", "/config.json", "ro"),
        (prepared, "/prepared", "ro"), (trained / "straight" / "output" / "adapter", "/adapter", "ro"),
    ]  # fmt: skip
    assert len(run(client, image, argv, mounts).removesuffix("\n")) >= 12  # a byte a token, if only spaces


def test_without_the_recorder_the_same_training_gives_the_same_bits(client, image, trained, prepared, tmp_path):
    tmp_path.chmod(0o777)
    experiment = yaml.safe_load((ROOT / "pipelines" / "experiments" / "tiny.yaml").read_text())
    places = {"{config}": "/config.json", "{inputs}": "/inputs", "{prepared}": "/prepared", "{output}": "/out"}
    argv = [places.get(word, word) for word in experiment["run"]]
    mounts = [
        (trained / "code", "/code", "ro"), (trained / "config.json", "/config.json", "ro"),
        (prepared, "/prepared", "ro"), (tmp_path, "/out", "rw"),
    ]  # fmt: skip
    run(client, image, argv, mounts, **experiment["environment"])
    name = "adapter/adapter_model.safetensors"
    recorded, bare = trained / "straight" / "output" / name, tmp_path / name
    assert (trained / "straight" / "runs" / "1" / "ledger.jsonl").stat().st_size > 0
    assert not list(tmp_path.rglob("ledger*.jsonl"))
    assert diff_files("recorded", recorded.read_bytes(), "bare", bare.read_bytes()).is_equal
