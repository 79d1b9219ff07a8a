"""The LoRA pipeline inside the image: a correct trainer, an adapter that loads, and a recorder that changes no bit."""

import json
import os

import pytest
import yaml

from harness.documents.experiment import parse_experiment
from harness.images.builder import build
from harness.inputs.fetch import fetch_input
from harness.judge.elementwise import diff_files
from harness.review.evidence.tracking_files import read_tensorboard, read_wandb
from harness.runs.seccomp import profile
from harness.system.store import open_store
from tests import ROOT
from tests.made.event_files import combine

pytestmark = pytest.mark.engine

IMAGE_USER = "1000:1000"


@pytest.fixture(scope="module")
def image(client):
    return build(client, "cpu", ROOT, open_store(None, os.environ), print).engine_id


@pytest.fixture(scope="module")
def trained(certified_tiny):
    """The folder of `tiny`, certified; its prepared inputs are in the cache."""
    project, _ = certified_tiny
    return project.latest("tiny")


def run(client, image, argv, mounts, **environment):
    """Run a command in a container without network; its output."""
    return client.containers.run(
        image,
        argv,
        network_mode="none",
        read_only=True,
        user=IMAGE_USER,
        working_dir="/code",
        remove=True,
        tmpfs={"/tmp": "rw,exec,mode=1777"},
        environment={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        volumes={str(outside): {"bind": inside, "mode": mode} for outside, inside, mode in mounts},
        stdout=True,
        stderr=False,
    ).decode()


@pytest.fixture(scope="module")
def prepared(client, image, trained, tmp_path_factory):
    """The prepared inputs of `tiny`, made again by its own command."""
    import os

    experiment = parse_experiment((ROOT / "pipelines" / "experiments" / "tiny.yaml").read_text(), "tiny.yaml")
    folder = tmp_path_factory.mktemp("prepared")
    folder.chmod(0o777)
    wordnet = fetch_input(experiment.inputs["wordnet"].named("wordnet"), open_store(None, os.environ), ROOT, print)
    argv = "python pipelines/lora/prepare.py --config /config.json --inputs /inputs --output /prepared".split()
    mounts = [
        (trained / "code", "/code", "ro"),
        (trained / "config.json", "/config.json", "ro"),
        (wordnet, "/inputs/wordnet", "ro"),
        (folder, "/prepared", "rw"),
    ]
    run(client, image, argv, mounts)
    return folder


def test_on_identical_batches_the_losses_agree_with_the_trainer_of_transformers(client, image, trained, prepared):
    argv = ["python", "tests/engine/parity_trainer.py", "--config", "/config.json", "--prepared", "/prepared"]
    mounts = [
        (trained / "code", "/code", "ro"),
        (trained / "config.json", "/config.json", "ro"),
        (prepared, "/prepared", "ro"),
    ]
    said = run(client, image, argv, mounts)
    result = json.loads(said)
    assert result["steps"] == 20 and result["parity"]
    assert result["max_loss_difference"] <= result["noise"]["loss"] < 1e-5
    assert len(set(result["trainer"])) > 10, "the curve moves"


def test_the_adapter_loads_with_peft_and_generates(client, image, trained, prepared):
    argv = [
        "python",
        "pipelines/lora/generate.py",
        "--prepared",
        "/prepared",
        "--adapter",
        "/adapter",
        "--config",
        "/config.json",
        "--prompt",
        "Define: dog (noun)",
        "--max-new-tokens",
        "12",
    ]
    mounts = [
        (trained / "code", "/code", "ro"),
        (trained / "config.json", "/config.json", "ro"),
        (prepared, "/prepared", "ro"),
        (trained / "straight" / "output" / "adapter", "/adapter", "ro"),
    ]
    assert len(run(client, image, argv, mounts).removesuffix("\n")) >= 12  # a byte a token, if only spaces


def test_without_the_recorder_the_same_training_gives_the_same_bits(client, image, trained, prepared, tmp_path):
    tmp_path.chmod(0o777)
    experiment = yaml.safe_load((ROOT / "pipelines" / "experiments" / "tiny.yaml").read_text())
    places = {"{config}": "/config.json", "{inputs}": "/inputs", "{prepared}": "/prepared", "{output}": "/out"}
    argv = [places.get(word, word) for word in experiment["run"]]
    mounts = [
        (trained / "code", "/code", "ro"),
        (trained / "config.json", "/config.json", "ro"),
        (prepared, "/prepared", "ro"),
        (tmp_path, "/out", "rw"),
    ]
    run(client, image, argv, mounts, **experiment["environment"])
    name = "adapter/adapter_model.safetensors"
    recorded, bare = trained / "straight" / "output" / name, tmp_path / name
    assert (trained / "straight" / "runs" / "1" / "ledger.jsonl").stat().st_size > 0
    assert not list(tmp_path.rglob("ledger*.jsonl"))
    assert diff_files("recorded", recorded.read_bytes(), "bare", bare.read_bytes()).is_equal


def event_files(output):
    """What the event files of a training show together."""
    paths = sorted((output / "tracking" / "tensorboard").glob("events.out.tfevents.*"))
    return combine(read_tensorboard(path.read_bytes(), path.name) for path in paths), len(paths)


def points(run):
    """Tag to steps; volatile numbers are at the same steps as all others."""
    return {series.name: series.steps for series in run.series}


def test_the_event_files_of_a_killed_training_show_every_step_once(trained):
    straight, one = event_files(trained / "straight" / "output")
    resumed, many = event_files(trained / "resumed" / "output")
    assert (one, many) == (1, 4), "a file for each process: three were killed"
    assert points(straight)["train/loss"] == tuple(range(1, 25))
    assert points(straight)["validation/loss"] == (0, 8, 16, 24)
    assert points(straight)["system/cpu_percent"] == tuple(range(1, 25))
    assert points(resumed) == points(straight)
    assert resumed.texts == straight.texts and resumed.config_keys == straight.config_keys


def test_both_trackers_log_and_change_nothing_for_a_user_without_a_name_below_a_read_only_root(
    client, image, trained, prepared, tmp_path
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    document = yaml.safe_load((ROOT / "pipelines" / "experiments" / "tiny.yaml").read_text())
    config = document["config"] | {"tracking": {"tensorboard": True, "wandb": True}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    mounts = {
        trained / "code": ("/code", "ro"),
        tmp_path / "config.json": ("/config.json", "ro"),
        prepared: ("/prepared", "ro"),
        tmp_path / "out": ("/out", "rw"),
    }
    places = {"{config}": "/config.json", "{inputs}": "/inputs", "{prepared}": "/prepared", "{output}": "/out"}
    argv = [places.get(word, word) for word in document["run"]]
    said = client.containers.run(
        image,
        ["env", "--unset=HOME", *argv],
        network_mode="none",
        read_only=True,
        user="65123:65123",
        remove=True,
        working_dir="/code",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges", f"seccomp={profile()}"],
        init=True,
        pids_limit=1024,
        tmpfs={"/tmp": "rw,exec,nosuid,nodev,mode=1777"},
        environment=document["environment"],
        stderr=True,
        volumes={str(outside): {"bind": inside, "mode": mode} for outside, (inside, mode) in mounts.items()},
    ).decode()
    assert "warning: " not in said, said
    (path,) = (tmp_path / "out").rglob("*.wandb")
    logged = read_wandb(path.read_bytes())
    assert points(logged) == points(event_files(tmp_path / "out")[0])
    assert points(logged)["train/loss"] == tuple(range(1, 25))
    assert logged.torn_bytes == 0 and "training" in logged.config_keys
    name = "adapter/adapter_model.safetensors"
    recorded = (trained / "straight" / "output" / name).read_bytes()
    assert diff_files("tiny", recorded, "with both trackers", (tmp_path / "out" / name).read_bytes()).is_equal
