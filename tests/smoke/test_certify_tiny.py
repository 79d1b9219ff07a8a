"""The main job on real input: a certificate for `tiny`, in containers, with three real kills."""

import hashlib
import json
import re

import pytest

from harness.documents.digest import sha256
from harness.runs.seccomp import profile

pytestmark = pytest.mark.engine


@pytest.fixture
def certified(certified_tiny):
    return certified_tiny


def test_the_last_line_is_the_verdict_and_all_documents_are_there(certified):
    project, answer = certified
    assert answer.last_line == "VERDICT: CERTIFIED"
    names = {path.name for path in project.latest("tiny").iterdir()}
    assert names >= {
        "verdict.json",
        "manifest.json",
        "certificate.json",
        "report.html",
        "summary.md",
        "junit.xml",
        "straight",
        "rerun",
        "resumed",
    }


def test_every_oracle_holds_over_all_steps(certified):
    project, _ = certified
    verdict = project.verdict("tiny")
    assert {name: oracle["verdict"] for name, oracle in verdict["checks"].items()} == {
        "rerun": "CERTIFIED",
        "resume": "CERTIFIED",
        "rebuild": "CERTIFIED",
    }
    assert verdict["checks"]["rerun"]["compared"]["steps"] == 24
    assert verdict["checks"]["resume"]["compared"]["steps"] == 24
    assert len(set(verdict["checks"]["rebuild"]["image_ids"])) == 1
    assert len(verdict["checks"]["rebuild"]["image_ids"]) == 2
    assert verdict["compared"]["tensors"] > 0 and verdict["compared"]["bytes"] > 0
    assert verdict["first_divergence"] is None


def test_each_kill_landed_and_the_engine_says_sigkill_without_oom(certified):
    project, _ = certified
    verdict, manifest = project.verdict("tiny"), project.manifest("tiny")
    kinds = [(kill["kind"], kill["by"], kill["exit_code"], kill["oom_killed"]) for kill in verdict["interruptions"]]
    assert kinds == [
        ("micro_batch", "self", 137, False),
        ("in_write", "self", 137, False),
        ("before_step", "outside", 137, False),
    ]
    runs = [run for run in manifest["runs"] if run["trajectory"] == "resumed"]
    assert [run["killed_by"] for run in runs] == ["self", "self", "outside", None]
    ids = {run["run"]: run["container_id"] for run in manifest["volatile"]["runs"] if run["run"].startswith("resumed/")}
    assert len(set(ids.values())) == 4, "each resume has a fresh container"


def test_the_write_that_was_killed_left_a_torn_file(certified):
    project, _ = certified
    output = project.latest("tiny") / "resumed" / "output" / "checkpoints"
    torn = [path for path in output.iterdir() if path.stat().st_size == 20000]
    events = (project.latest("tiny") / "resumed" / "runs" / "2" / "events.jsonl").read_text()
    assert torn or '"in_write"' in events


def test_the_isolation_in_force_was_read_back_from_the_engine(certified):
    project, _ = certified
    for run in project.manifest("tiny")["runs"]:
        settings = run["settings"]
        assert settings["network_mode"] == "none" and settings["read_only_root"] is True
        assert settings["cap_drop"] == ["ALL"] and settings["security_opt"][0] == "no-new-privileges"
        assert settings["security_opt"][1:] == [f"seccomp={sha256(profile().encode())}"]
        assert settings["privileged"] is False and settings["init"] is True
        assert not settings["user"].startswith("0") and settings["pids_limit"] and settings["memory_bytes"]
        number = str(run["number"])
        writable = {target for target, mode in settings["mounts"].items() if mode == "rw"}
        assert writable == {"/out/output", f"/out/runs/{number}"}


def test_every_control_failed_as_it_must(certified):
    control = certified[0].verdict("tiny")["control"]
    assert control["failed_as_it_must"]
    assert sorted(check["name"] for check in control["controls"]) == [
        "flip_optim",
        "flip_param",
        "ledger_digit",
        "tensor_bit",
        "weights_moved",
    ]


def test_the_certificate_is_an_in_toto_statement_of_these_documents(certified):
    folder = certified[0].latest("tiny")
    statement = json.loads((folder / "certificate.json").read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] and all(subject["digest"] for subject in statement["subject"])
    text = json.dumps(statement)
    for name in ("manifest.json", "verdict.json"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in text


def test_every_item_of_the_checklist_is_shown_and_nothing_is_vetoed(certified):
    project, answer = certified
    review = project.verdict("tiny")["review"]
    states = {item["id"]: item["state"] for item in review["checklist"]}
    assert review["vetoes"] == [] and review["allowed"] == []
    assert not [name for name, state in states.items() if state in ("vetoed", "warning")], review["findings"]
    assert [states[f"V{number}"] for number in range(1, 6)] == ["holds", "holds", "holds", "does not apply", "holds"]
    measured = ("T1", "T5", "T7", "C1", "C2", "C3", "C4", "C5", "E3", "E4", "K1", "K2", "K3", "K5", "V1", "V2", "V5")
    assert {name: states[name] for name in measured} == dict.fromkeys(measured, "holds")
    shown = {item["id"]: item["shown"] for item in review["checklist"]}
    assert all(shown[name][0]["measured"] for name in measured)
    assert "trainable tensors" in shown["V2"][0]["text"] and "went on for 16 steps" in shown["C5"][0]["text"]
    folder = project.latest("tiny")
    certificate = json.loads((folder / "certificate.json").read_text())
    assert certificate["predicate"]["review"]["checklist"] == states
    assert project.manifest("tiny")["review"]["checklist"] == states
    assert "The review" in (folder / "report.html").read_text()
    assert "### Review" in (folder / "summary.md").read_text()
    assert "tiny.review.vetoes" in (folder / "junit.xml").read_text()
    assert "review " in answer.out


def test_the_report_stands_on_its_own(certified):
    html = (certified[0].latest("tiny") / "report.html").read_text()
    assert "<svg" in html and "CERTIFIED" in html
    assert "<script" not in html
    assert not re.search(r"""(src|href)=["']https?:""", html)
    assert len(html) < 2_000_000


def test_a_second_certify_reuses_the_image_and_the_controls(certified):
    project, _ = certified
    answer = project.harness("certify", "tiny", RUNNER="docker")
    assert answer.code == 0, answer.out
    assert project.manifest("tiny")["volatile"]["seconds"]["image"] < 1.5
    assert not (project.latest("tiny") / "control-param").exists()
    assert project.verdict("tiny")["control"]["failed_as_it_must"]


def test_diff_of_a_run_with_itself_and_with_a_changed_copy(certified, tmp_path):
    project, _ = certified
    folder = project.latest("tiny")
    same = project.harness("diff", str(folder / "straight"), str(folder / "resumed"))
    assert same.code == 0, same.out
    adapter = "output/adapter/adapter_model.safetensors"
    changed = tmp_path / "changed.safetensors"
    data = bytearray((folder / "straight" / adapter).read_bytes())
    data[-4] ^= 1
    changed.write_bytes(data)
    answer = project.harness("diff", "--json", str(folder / "straight" / adapter), str(changed))
    assert answer.code == 1
    differing = json.loads(answer.out)["tensors"]
    assert [(tensor["kind"], tensor["num_different"], tensor["max_ulp"]) for tensor in differing] == [("differs", 1, 1)]
