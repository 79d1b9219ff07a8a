"""The preflight of GPUs: what it refuses on a machine without one, and what it reads of an engine's answer."""

import json
import stat
import sys
from pathlib import Path

import pytest

from harness.documents.gpu import Gpu, GpuRequest
from harness.documents.lockfile import parse_lock
from harness.errors import HostError, UsageError
from harness.runs.gpu_preflight import check_seen
from harness.runs.host import HostSandbox
from harness.system import gpu
from harness.system.gpu import Inventory, cdi_devices, inventory, request_gpus, toolkit_version

HASH = "--hash=sha256:" + "ab" * 32
UUID = "GPU-8f2c0b4e-1111-4e6f-9d7a-000000000001"
CUDA_LOCK = parse_lock(f"torch==2.9.0+cu128 {HASH}\nnvidia-cuda-runtime-cu12==12.8.90 {HASH}\n", "cuda.lock")
CPU_LOCK = parse_lock(f"torch==2.9.0+cpu {HASH}\n", "cpu.lock")
CARD = Gpu(index=0, uuid=UUID, name="Card", memory_bytes=24 << 30)
MACHINE = Inventory(gpus=(CARD,), driver="580.82.07", cuda="13.0")


def test_an_inventory_has_gpus_or_says_why_there_are_none():
    found = inventory()
    assert bool(found.driver) != bool(found.problem)
    assert found.problem == "" or (found.remedy and found.to_json() == [])


def test_what_the_manifest_says_of_a_gpu_does_not_depend_on_the_moment():
    busy = Inventory(
        gpus=(Gpu(index=0, uuid=UUID, name="Card", memory_bytes=24 << 30, used_bytes=7),),
        driver="580.82.07",
        cuda="13.0",
    )
    assert (
        busy.to_json()
        == MACHINE.to_json()
        == [{"name": "Card", "uuid": UUID, "memory_bytes": 24 << 30, "driver": "580.82.07", "cuda": "13.0"}]
    )


def test_a_gpu_is_chosen_where_driver_and_image_go_together(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert request_gpus(1, "cuda", CUDA_LOCK, None, MACHINE).uuids == (UUID,)


def test_an_image_without_cuda_is_a_mistake_of_the_experiment():
    with pytest.raises(UsageError, match="image 'cpu' has no CUDA"):
        request_gpus(1, "cpu", CPU_LOCK, None, MACHINE)


def test_a_machine_without_a_driver_is_refused_with_the_reason():
    with pytest.raises(HostError, match="asks for 2 GPUs: no NVIDIA driver answers") as caught:
        request_gpus(2, "cuda", CUDA_LOCK, None, Inventory(problem="no NVIDIA driver answers", remedy="install it"))
    assert caught.value.exit_code == 6 and caught.value.remedy == "install it"


def test_a_driver_older_than_the_images_cuda_is_refused():
    old = Inventory(gpus=(CARD,), driver="470.199.02", cuda="11.4")
    with pytest.raises(HostError, match=r"the driver is 470\.199\.02; CUDA 12\.8 .* needs 525\.60\.13"):
        request_gpus(1, "cuda", CUDA_LOCK, None, old)


def test_a_given_interpreter_has_a_cuda_of_its_own_whatever_the_image_asks_of_the_driver(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    old = Inventory(gpus=(CARD,), driver="560.35.03", cuda="12.6")
    assert request_gpus(1, "cpu", None, None, old).uuids == (UUID,)


# --- CDI specifications -----------------------------------------------------------------------------------------------


def spec(folder, name, text):
    (folder / name).write_text(text)


def test_specifications_are_read_where_an_engine_names_their_folders_only(tmp_path):
    spec(tmp_path, "nvidia.yaml", f"cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: '0'\n- name: {UUID}\n")
    spec(tmp_path, "other.json", json.dumps({"kind": "vendor.com/net", "devices": [{"name": "eth0"}]}))
    found = cdi_devices({"CDISpecDirs": [str(tmp_path), "/nonexistent"]})
    assert found == {"nvidia.com/gpu=0", f"nvidia.com/gpu={UUID}", "vendor.com/net=eth0"}


def test_without_cdi_switched_on_nothing_is_read(tmp_path):
    spec(tmp_path, "nvidia.yaml", "kind: nvidia.com/gpu\ndevices: [{name: all}]\n")
    assert cdi_devices({"CDISpecDirs": []}) == frozenset() == cdi_devices({})


def test_what_the_engine_lists_counts_more_than_the_files(tmp_path):
    spec(tmp_path, "nvidia.yaml", "kind: nvidia.com/gpu\ndevices: [{name: all}]\n")
    info = {"CDISpecDirs": [str(tmp_path)], "DiscoveredDevices": [{"Source": "cdi", "ID": f"nvidia.com/gpu={UUID}"}]}
    assert cdi_devices(info) == {f"nvidia.com/gpu={UUID}"}
    assert cdi_devices({**info, "DiscoveredDevices": None}) == frozenset()


@pytest.mark.parametrize("text", ["", "[]", "kind: x", "kind: x\ndevices: 3", "devices: [1, {}]", "{", "\x00", "a: *b"])
def test_a_malformed_specification_names_no_device(tmp_path, text):
    spec(tmp_path, "broken.yaml", text)
    spec(tmp_path, "broken.json", text)
    (tmp_path / "folder.yaml").mkdir()
    assert cdi_devices({"CDISpecDirs": [str(tmp_path)]}) == frozenset()


# --- the toolkit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """A folder that is the whole PATH, for programs that answer as the toolkit's do."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(name, body):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


def test_the_toolkits_version_is_what_its_command_line_says(on_path):
    on_path("nvidia-ctk", "echo 'NVIDIA Container Toolkit CLI version 1.17.8'; echo 'commit: f202b80'")
    assert toolkit_version() == "NVIDIA Container Toolkit CLI version 1.17.8"


def test_an_older_toolkit_is_asked_by_its_container_cli(on_path):
    on_path("nvidia-container-cli", "echo 'cli-version: 1.13.5'; echo 'lib-version: 1.13.5'")
    assert toolkit_version() == "cli-version: 1.13.5"


def test_a_toolkit_that_fails_is_none(on_path):
    on_path("nvidia-ctk", "exit 3")
    assert toolkit_version() is None


def test_the_hook_is_found_on_the_path(on_path):
    on_path(gpu.HOOK, "exit 0")
    assert gpu.hook_path() is not None


# --- the first process ------------------------------------------------------------------------------------------------


def answers(tmp_path, body):
    """A host sandbox whose python is a program that answers as the probe would."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    return HostSandbox(python, GpuRequest(uuids=(UUID,), chosen_by="test"))


def request():
    return GpuRequest(uuids=(UUID,), chosen_by="test")


def test_a_process_without_the_drivers_library_sees_no_gpu():
    if not inventory().problem:
        pytest.skip("this machine has a driver")
    with pytest.raises(HostError, match=rf"given {UUID} sees none .*libcuda\.so\.1") as caught:
        check_seen(HostSandbox(Path(sys.executable), request()), request())
    assert caught.value.exit_code == 6


def test_a_process_that_sees_exactly_its_gpu_passes(tmp_path):
    sandbox = answers(tmp_path, f"echo 'cuInit 0'; echo 'device {UUID.removeprefix('GPU-')}'")
    assert check_seen(sandbox, request()) is None


def test_a_process_that_sees_another_gpu_or_one_more_is_refused(tmp_path):
    other = "11111111-1111-1111-1111-111111111111"
    with pytest.raises(HostError, match=f"sees GPU-{other}"):
        check_seen(answers(tmp_path, f"echo 'device {other}'"), request())
    both = f"echo 'device {UUID.removeprefix('GPU-')}'; echo 'device {other}'"
    with pytest.raises(HostError, match="sees GPU-"):
        check_seen(answers(tmp_path, both), request())


def test_the_process_is_told_its_gpus_by_uuid(tmp_path):
    sandbox = answers(tmp_path, 'echo "device ${CUDA_VISIBLE_DEVICES#GPU-}"; [ "$CUDA_DEVICE_ORDER" = PCI_BUS_ID ]')
    assert check_seen(sandbox, request()) is None
