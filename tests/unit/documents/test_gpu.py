"""Which GPUs a process gets, and how an engine is asked for them."""

import pytest

from harness.documents.gpu import (
    Gpu,
    GpuRequest,
    check_driver,
    choose_gpus,
    device_request,
    discovered_devices,
    route_of,
)
from harness.errors import HostError, UsageError

A = "GPU-8f2c0b4e-1111-4e6f-9d7a-000000000001"
B = "GPU-9a11c0de-2222-4e6f-9d7a-000000000002"
C = "GPU-9a77c0de-3333-4e6f-9d7a-000000000003"
MIG = "MIG-3eb87630-93d5-b2b6-b8ff-9b359caf4ee2"


def gpu(index, uuid, used=0, name="Card"):
    return Gpu(index=index, uuid=uuid, name=name, memory_bytes=24 << 30, used_bytes=used)


GPUS = (gpu(0, A, used=9 << 30), gpu(1, B), gpu(2, C, used=1 << 20))


def chosen(num, gpus=GPUS, wanted=None, **environment):
    return choose_gpus(num, gpus, environment, wanted).uuids


def test_the_least_used_are_taken_in_the_order_of_the_bus():
    assert chosen(1) == (B,)
    assert chosen(2) == (B, C)
    assert chosen(3) == (A, B, C)
    assert choose_gpus(1, GPUS, {}).chosen_by == "least memory used"


def test_of_equally_used_ones_the_first_is_taken():
    assert chosen(1, gpus=(gpu(1, B), gpu(0, A))) == (A,)


def test_cuda_visible_devices_is_obeyed_by_index_uuid_and_abbreviation():
    assert chosen(1, CUDA_VISIBLE_DEVICES="2") == (C,)
    assert chosen(2, CUDA_VISIBLE_DEVICES=f"{B},0") == (B, A)
    assert chosen(1, CUDA_VISIBLE_DEVICES="GPU-8f2c") == (A,)
    assert choose_gpus(1, GPUS, {"CUDA_VISIBLE_DEVICES": "2"}).chosen_by == "CUDA_VISIBLE_DEVICES"


def test_more_visible_ones_than_are_asked_for_are_cut():
    assert chosen(1, CUDA_VISIBLE_DEVICES="1,2") == (B,)


@pytest.mark.parametrize("visible", ["", "-1", "7,0", "GPU-9a", "NoDevFiles", "0x1", "٣", "9" * 5000])
def test_an_entry_that_is_not_valid_ends_the_list_as_in_cuda(visible):
    with pytest.raises(HostError, match="shows 0") as caught:
        chosen(1, CUDA_VISIBLE_DEVICES=visible)
    assert A in caught.value.problem and len(caught.value.problem) < 1000


def test_a_mig_device_is_taken_by_its_uuid_without_being_listed():
    assert chosen(1, CUDA_VISIBLE_DEVICES=MIG) == (MIG,)
    assert chosen(1, wanted=MIG) == (MIG,)


def test_an_index_among_several_models_is_refused_unless_the_order_is_that_of_the_bus():
    mixed = (gpu(0, A, name="Small"), gpu(1, B, name="Large"))
    with pytest.raises(HostError, match="ambiguous") as caught:
        chosen(1, gpus=mixed, CUDA_VISIBLE_DEVICES="0")
    assert "PCI_BUS_ID" in caught.value.remedy
    assert chosen(1, gpus=mixed, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID") == (A,)
    assert chosen(1, gpus=mixed, CUDA_VISIBLE_DEVICES=B) == (B,)


def test_what_is_named_on_the_command_line_wins_over_the_environment():
    assert chosen(1, wanted="0", CUDA_VISIBLE_DEVICES="1") == (A,)
    assert chosen(2, wanted=f" {C} , 1") == (C, B)


@pytest.mark.parametrize("wanted", ["", "0,1", ","])
def test_another_number_than_the_experiment_asks_for_is_refused(wanted):
    with pytest.raises(UsageError, match="--gpu names"):
        chosen(1, wanted=wanted)


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(HostError) as caught:
        chosen(1, wanted="5")
    assert all(uuid in caught.value.problem for uuid in (A, B, C))
    with pytest.raises(HostError, match="not a GPU of this machine"):
        chosen(1, wanted="all; rm -rf /")


def test_a_gpu_named_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        chosen(2, wanted=f"0,{A}")


def test_too_few_are_an_error_of_the_environment_that_names_them():
    with pytest.raises(HostError, match="asks for 4 GPUs, and this machine has 3") as caught:
        chosen(4)
    assert caught.value.exit_code == 6 and A in caught.value.problem
    with pytest.raises(HostError, match="has 0: none"):
        chosen(1, gpus=())


def test_a_device_request_names_uuids_and_never_all():
    assert device_request(GpuRequest(uuids=(A, B), chosen_by="", route="nvidia")) == {
        "driver": "nvidia",
        "device_ids": [A, B],
        "capabilities": [["gpu"]],
    }
    assert device_request(GpuRequest(uuids=(A,), chosen_by="", route="cdi")) == {
        "driver": "cdi",
        "device_ids": [f"nvidia.com/gpu={A}"],
    }


def test_cdi_is_taken_where_it_names_every_gpu():
    both = frozenset({f"nvidia.com/gpu={A}", f"nvidia.com/gpu={B}", "nvidia.com/gpu=all"})
    assert route_of({"nvidia"}, both, (A, B), has_hook=True) == "cdi"
    assert route_of({"nvidia"}, both, (A, C), has_hook=False) == "nvidia"


def test_the_hook_or_the_runtime_serves_without_cdi():
    assert route_of({"runc"}, frozenset(), (A,), has_hook=True) == "nvidia"
    assert route_of({"runc", "nvidia"}, frozenset(), (A,), has_hook=False) == "nvidia"


def test_an_engine_with_neither_hands_out_none():
    assert route_of({"runc"}, frozenset({"vendor.com/net=eth0"}), (A,), has_hook=False) is None
    assert route_of((), frozenset({"nvidia.com/gpu=0"}), (A,), has_hook=False) is None


def test_devices_that_an_engine_discovered_are_read_whatever_else_stands_there():
    info = {"DiscoveredDevices": [{"Source": "cdi", "ID": f"nvidia.com/gpu={A}"}, {"Source": "other", "ID": "x"}, 3]}
    assert discovered_devices(info) == {f"nvidia.com/gpu={A}"}
    assert discovered_devices({"DiscoveredDevices": None}) == frozenset() == discovered_devices({})


@pytest.mark.parametrize("found", ["580.65.06", "580.82.07", "595.84", "610.0"])
def test_a_driver_that_is_new_enough_passes(found):
    check_driver(found, "580.65.06", "13.0", "cuda")


@pytest.mark.parametrize("found", ["580.65.05", "575.57.08", "580", "", "unknown"])
def test_a_driver_that_is_older_is_refused_with_what_is_needed(found):
    with pytest.raises(HostError, match=r"needs 580\.65\.06 or newer") as caught:
        check_driver(found, "580.65.06", "13.0", "cuda")
    assert caught.value.exit_code == 6 and "CUDA 13.0" in caught.value.problem
