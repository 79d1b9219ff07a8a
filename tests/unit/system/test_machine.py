"""The machine as it stands in a manifest."""

from pathlib import Path

from harness.system import machine
from harness.system.machine import isa_flags


def test_the_machines_facts_list_its_gpus():
    assert isinstance(machine.host_facts()["gpus"], list)


def test_the_machine_is_named_so_that_nobody_can_tell_it_by_its_own_id():
    facts = machine.host_facts()
    assert facts == machine.host_facts()
    try:
        own = Path("/etc/machine-id").read_text().strip()
    except OSError:
        own = ""
    if len(own) == 32:
        assert len(facts["machine_id"]) == 16 and facts["machine_id"] not in own
        assert int(facts["machine_id"], 16) >= 0
    else:
        assert facts["machine_id"] is None


def test_a_machine_without_an_id_has_none(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: "" if path == "/etc/machine-id" else "flags : fpu avx2 fma\n")
    facts = machine.host_facts()
    assert facts["machine_id"] is None and facts["isa"] == ["avx2", "fma"]


def test_flags_are_those_that_libraries_look_at():
    assert isa_flags("fpu vme avx2 fma rdrand avx512f") == ["avx2", "fma", "avx512f"]
