"""GPU containers without a GPU: what is asked for is read back from the real engine, and its real refusals are named.

Where an engine has to hand a GPU out, one on localhost stands in front of the real one (engine_in_front.py): the
containers are real, the answers that only a GPU machine gives are those that public issues quote.
"""

import os

import pytest

from harness.documents.digest import sha256
from harness.documents.gpu import GpuRequest
from harness.errors import HostError
from harness.images.builder import build_for_certificate
from harness.runs.container import ContainerSandbox, container_options
from harness.runs.gpu_preflight import check_seen
from harness.runs.sandbox import Mount, ProcessSpec
from harness.runs.seccomp import profile
from harness.system import gpu
from harness.system.store import open_store
from tests import ROOT
from tests.engine.engine_in_front import EngineInFront

pytestmark = pytest.mark.engine

A = "GPU-8f2c0b4e-1111-4e6f-9d7a-000000000001"
B = "GPU-9a11c0de-2222-4e6f-9d7a-000000000002"
HASH = "--hash=sha256:" + "ab" * 32
BY_HOOK = GpuRequest(uuids=(A, B), chosen_by="test", route="nvidia")
BY_CDI = GpuRequest(uuids=(A,), chosen_by="test", route="cdi")
GPU_IS_HERE = not gpu.inventory().problem
without_gpu = pytest.mark.skipif(GPU_IS_HERE, reason="this machine has a GPU: its engine would hand it out")


@pytest.fixture(scope="module")
def image(client):
    return build_for_certificate(
        client, "cpu", ROOT, open_store(None, os.environ), print, rebuild_required=False
    ).engine_id


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "code").mkdir()
    tmp_path.chmod(0o755)
    return ProcessSpec(
        name="test/gpu/1",
        argv=("python", "-c", "open('/written', 'w')"),
        mounts={"code": Mount(source=tmp_path / "code", target="/code")},
        environment={"GREETING": "hello"},
        memory_bytes=1 << 30,
        timeout_s=60,
        log=tmp_path / "log.txt",
    )


def read_back(client, image, spec, request):
    """What the engine says of a container that was created as the harness would, and never started."""
    container = client.containers.create(
        image, **container_options(spec, spec.argv, (1000, 1000), request, [f"seccomp={profile()}"])
    )
    try:
        return container.attrs
    finally:
        container.remove(force=True)


def execute(image, spec, request):
    return ContainerSandbox(image, request).execute(spec, lambda: False)


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_gpus_are_asked_for_by_uuid(client, image, spec):
    attrs = read_back(client, image, spec, BY_HOOK)
    (request,) = attrs["HostConfig"]["DeviceRequests"]
    assert (request["Driver"], request["DeviceIDs"], request["Capabilities"]) == ("nvidia", [A, B], [["gpu"]])
    assert request["Count"] == 0, "a count, or -1 for all, would take GPUs that nobody chose"


def test_gpus_are_asked_for_by_cdi(client, image, spec):
    (request,) = read_back(client, image, spec, BY_CDI)["HostConfig"]["DeviceRequests"]
    assert (request["Driver"], request["DeviceIDs"], request["Count"]) == ("cdi", [f"nvidia.com/gpu={A}"], 0)
    assert not request["Options"]


@pytest.mark.parametrize("request_", [BY_HOOK, BY_CDI], ids=["hook", "cdi"])
def test_a_container_with_a_gpu_is_hardened_as_any_other(client, image, spec, request_):
    with_gpu, without = (read_back(client, image, spec, one) for one in (request_, None))
    for key in (
        "NetworkMode",
        "ReadonlyRootfs",
        "CapDrop",
        "CapAdd",
        "SecurityOpt",
        "Privileged",
        "PidsLimit",
        "Memory",
        "IpcMode",
        "Init",
        "Runtime",
        "Devices",
        "GroupAdd",
    ):
        assert with_gpu["HostConfig"][key] == without["HostConfig"][key], key
    assert with_gpu["HostConfig"]["ReadonlyRootfs"] is True
    assert with_gpu["Config"]["User"] == without["Config"]["User"]


def test_the_toolkit_is_told_to_give_no_more_than_computing_needs(client, image, spec):
    environment = read_back(client, image, spec, BY_HOOK)["Config"]["Env"]
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in environment and "GREETING=hello" in environment
    assert not any(entry.startswith("NVIDIA_VISIBLE_DEVICES") for entry in environment)


def test_a_container_without_a_gpu_has_no_request_and_nothing_for_the_toolkit(client, image, spec):
    attrs = read_back(client, image, spec, None)
    assert not attrs["HostConfig"]["DeviceRequests"]
    assert not any(entry.startswith("NVIDIA_") for entry in attrs["Config"]["Env"])


# --- the engine's own refusals ----------------------------------------------------------------------------------------


@without_gpu
@pytest.mark.parametrize("request_", [BY_HOOK, BY_CDI], ids=["hook", "cdi"])
def test_an_engine_without_gpus_says_so_and_the_run_cannot_be_judged(client, image, spec, request_):
    before = {container.id for container in client.containers.list(all=True)}
    outcome = execute(image, spec, request_)
    assert outcome.exit_code == -1 and "no driver for GPUs" in outcome.error
    assert "could not select device driver" in outcome.error
    left = [c for c in client.containers.list(all=True) if c.id not in before and c.labels.get("repro-harness.run")]
    assert not [c for c in left if c.labels["repro-harness.run"] == spec.name]


@without_gpu
def test_the_preflight_asks_the_engine_before_anything_is_built(client):
    if gpu.hook_path() or "nvidia" in client.info()["Runtimes"]:
        pytest.skip("this machine has the toolkit")
    with pytest.raises(HostError, match="cannot hand out GPUs") as caught:
        gpu.routed(client, BY_HOOK)
    for command in ("nvidia-ctk runtime configure --runtime=docker", "nvidia-ctk cdi generate", "RUNNER=host"):
        assert command in caught.value.remedy


@without_gpu
def test_a_container_that_sees_no_gpu_stops_the_certify_before_its_runs(image):
    with pytest.raises(HostError, match=f"given {A} sees none"):
        check_seen(ContainerSandbox(image), GpuRequest(uuids=(A,), chosen_by="test"))


EXPERIMENT = """
schema: 1
image: {image}
gpus: {gpus}
run: [python, pipelines/plain/train.py, --config, "{{config}}", --output, "{{output}}"]
resume: [python, pipelines/plain/train.py, --config, "{{config}}", --output, "{{output}}", --resume]
config: {{seed: 5, steps: 4, lr: 0.01, batch_size: 8, accumulation: 2, save_every: 3}}
steps: 4
outputs: [model.safetensors]
policy: {{required: [rerun]}}
"""


@without_gpu
@pytest.mark.parametrize("runner", ["docker", "host"])
def test_an_experiment_with_gpus_ends_with_code_6_and_the_remedy(client, shared_project, runner):
    lock = f"torch==2.9.0+cu128 {HASH}\nnvidia-cuda-runtime-cu12==12.8.90 {HASH}\n"
    (shared_project.root / "lockfiles" / "on-gpu.lock").write_text(lock)
    shared_project.experiment("on-gpu", EXPERIMENT.format(image="on-gpu", gpus=2))
    answer = shared_project.harness("certify", "on-gpu", RUNNER=runner, timeout=60)
    assert answer.code == 6, answer.err
    assert "asks for 2 GPUs: no NVIDIA driver answers" in answer.err and "remedy: install NVIDIA's driver" in answer.err
    verdict = shared_project.verdict("on-gpu")
    assert (verdict["verdict"], verdict["exit_code"], verdict["gpus"]) == ("INCONCLUSIVE", 6, [])


def test_gpus_with_an_image_that_has_no_cuda_are_a_mistake_of_the_experiment(client, shared_project):
    shared_project.experiment("no-cuda", EXPERIMENT.format(image="cpu", gpus=1))
    answer = shared_project.harness("certify", "no-cuda", RUNNER="docker", timeout=60)
    assert answer.code == 2 and "image 'cpu' has no CUDA" in answer.err, answer.err


def test_naming_a_gpu_for_an_experiment_without_is_a_mistake(shared_project):
    answer = shared_project.harness("certify", "plain", GPU="0", timeout=60)
    assert answer.code == 2 and "asks for no GPU" in answer.err


# --- an engine that hands GPUs out ------------------------------------------------------------------------------------


@pytest.fixture
def front(client, monkeypatch):
    """Make the engine that the harness talks to one in front of the real one."""
    opened = []

    def start(**options):
        one = EngineInFront(os.environ.get("DOCKER_HOST"), **options)
        opened.append(one)
        monkeypatch.setenv("DOCKER_HOST", one.host)
        return one

    yield start
    for one in opened:
        one.close()


def test_the_request_in_force_is_recorded_as_the_engine_says_it(image, spec, front):
    front()
    outcome = execute(image, spec, BY_CDI)
    assert outcome.error is None and outcome.exit_code == 1, "the root is read-only"
    assert outcome.settings["device_requests"][0]["DeviceIDs"] == [f"nvidia.com/gpu={A}"]
    assert outcome.settings["read_only_root"] is True and "fallback" not in outcome.settings
    assert "Read-only file system" in spec.log.read_text()


def test_where_the_hook_cannot_write_the_root_is_writable_and_that_is_recorded(image, spec, front):
    engine = front(needs_writable_root=True)
    outcome = execute(image, spec, BY_HOOK)
    assert outcome.error is None, outcome.error
    assert outcome.settings["read_only_root"] is False and "writable root" in outcome.settings["fallback"]
    assert [is_read_only for is_read_only, _ in engine.started] == [True, False]
    for key, value in {
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", f"seccomp={sha256(profile().encode())}"],
        "privileged": False,
    }.items():
        assert outcome.settings[key] == value
    assert outcome.settings["device_requests"][0]["DeviceIDs"] == [A, B]


def test_a_container_without_a_gpu_never_gets_a_writable_root(image, spec, front):
    engine = front(needs_writable_root=True)
    outcome = execute(image, spec, None)
    assert "the engine failed" in outcome.error and "read-only file system" in outcome.error
    assert engine.created == [(True, [])]


def test_an_engine_that_drops_the_request_is_not_believed(image, spec, front):
    engine = front(forgets_requests=True)
    outcome = execute(image, spec, BY_HOOK)
    assert "did not take the request" in outcome.error and A in outcome.error
    assert engine.started == []


def test_a_container_that_dies_of_its_gpu_is_not_the_pipelines_fault(image, spec, front):
    front()
    lost = ("python", "-c", "raise RuntimeError('CUDA error: unspecified launch failure')")
    spec = ProcessSpec(**{**{name: getattr(spec, name) for name in spec.__slots__}, "argv": lost})
    outcome = execute(image, spec, BY_HOOK)
    assert outcome.exit_code == 1 and outcome.error.startswith("the GPU was lost: RuntimeError: CUDA error")
