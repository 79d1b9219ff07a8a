"""Downloads by the real huggingface_hub from a server on 127.0.0.1 that stands for the Hugging Face Hub."""

import os

import pytest

from harness.documents.inputs import Input
from harness.errors import HostError, UsageError
from harness.inputs.hub import fetch_snapshot
from tests.made.https_server import closed_port
from tests.made.hub_server import COMMIT, hub_server

WEIGHTS = os.urandom(200_000)
TOKEN = "hf_thisIsAPlantedToken"


@pytest.fixture
def hub():
    with hub_server() as hub:
        hub.put("config.json", b"{}")
        hub.put("README.md", b"# Tiny")
        hub.put("data/train.json", b"[1]")
        hub.put(".gitattributes", b"* text")
        hub.put("model.safetensors", WEIGHTS, is_large=True)
        yield hub


@pytest.fixture
def fetch(hub, tmp_path):
    (tmp_path / "scratch").mkdir()
    told = []

    def run(environment=(), stalled_s=30.0, **fields):
        value = {"name": "model", "kind": "hf", "reference": "someone/tiny", "sha256": "", "version": COMMIT, **fields}
        variables = {"PATH": os.environ["PATH"], "HF_ENDPOINT": hub.address, **dict(environment)}
        return fetch_snapshot(Input(**value), tmp_path / "scratch", variables, told.append, stalled_s)

    run.told = told
    return run


def contents(tree):
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if not path.is_dir()}


def test_every_file_of_the_commit_is_fetched_and_nothing_of_the_librarys_is_left(hub, fetch):
    tree = fetch()
    assert contents(tree) == hub.files
    assert not (tree / ".cache").exists()


def test_patterns_choose_files_and_the_others_are_not_asked_for(hub, fetch):
    assert set(contents(fetch(patterns=("*.json",)))) == {"config.json", "data/train.json"}
    assert len(hub.fetched()) == 2


def test_a_dataset_is_asked_for_as_a_dataset(hub, fetch):
    hub.kind = "dataset"
    assert set(contents(fetch(repo_type="dataset"))) == set(hub.files)
    with pytest.raises(UsageError, match="no such repository"):
        fetch(repo_type="model")


def test_a_repository_that_is_not_there_is_a_mistake_of_the_experiment(fetch):
    with pytest.raises(UsageError, match="someone/gone at 0123456789ab: there is no such repository") as caught:
        fetch(reference="someone/gone")
    assert "set HF_TOKEN" in caught.value.remedy


def test_a_commit_that_is_not_there_is_a_mistake_of_the_experiment(fetch):
    with pytest.raises(UsageError, match="no such commit"):
        fetch(version="f" * 40)


def test_a_hub_that_answers_with_another_commit_is_not_believed(hub, fetch):
    hub.commit = "f" * 40
    with pytest.raises(UsageError, match="it answers with the commit ffff"):
        fetch()


def test_patterns_that_fit_nothing_are_told_what_there_is(fetch):
    with pytest.raises(UsageError, match=r"no file fits.*README\.md.*config\.json"):
        fetch(patterns=("*.bin",))


def test_a_gated_repository_says_what_to_ask_for(hub, fetch):
    hub.is_gated = True
    with pytest.raises(HostError, match="access is denied") as caught:
        fetch()
    assert "ask for access, and set HF_TOKEN" in caught.value.remedy


def test_a_token_goes_to_the_hub_and_nowhere_else(hub, fetch, tmp_path):
    tree = fetch({"HF_TOKEN": TOKEN})
    assert all(headers.get("authorization") == f"Bearer {TOKEN}" for _, _, headers in hub.requests)
    assert hub.storage.requests
    assert not any("authorization" in headers for _, _, headers in hub.storage.requests)
    assert not any(TOKEN in line for line in fetch.told)
    left = [path for path in [*tree.rglob("*"), *(tmp_path / "scratch").rglob("*")] if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in left)


def test_a_token_is_in_no_error(hub, fetch):
    hub.is_gated = True
    with pytest.raises(HostError, match="access is denied") as caught:
        fetch({"HF_TOKEN": TOKEN, "HF_DEBUG": "1"})
    assert TOKEN not in str(caught.value)
    assert "HF_TOKEN is set" in caught.value.remedy


def test_without_a_token_none_is_sent_though_somebody_is_logged_in(hub, fetch, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("hf_ofTheLogin")
    fetch({"HF_HOME": str(tmp_path / "home"), "HUGGING_FACE_HUB_TOKEN": TOKEN})
    assert not any("authorization" in headers for _, _, headers in hub.requests)


def test_a_token_is_not_sent_over_plain_http_to_another_machine(fetch):
    address = f"http://host.invalid:{closed_port()}"
    with pytest.raises(HostError, match="cannot be reached"):
        fetch({"HF_TOKEN": TOKEN, "HF_ENDPOINT": address})
    assert "HF_TOKEN is not sent: HF_ENDPOINT is not https" in fetch.told


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_is_explained_and_nobody_is_asked(hub, fetch, switch):
    with pytest.raises(HostError, match=f"{switch} forbids fetching it") as caught:
        fetch({switch: "1"})
    assert f"{switch}=0" in caught.value.remedy
    assert hub.requests == []


def test_a_hub_that_nobody_runs_is_an_environment_error(fetch):
    with pytest.raises(HostError, match="cannot be reached") as caught:
        fetch({"HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"})
    assert "HF_ENDPOINT" in caught.value.remedy


def test_a_hub_that_fails_for_a_moment_is_asked_again(hub, fetch):
    hub.failures = [500, 503]
    assert contents(fetch()) == hub.files


def test_an_endpoint_with_a_password_is_refused_and_not_repeated(fetch):
    with pytest.raises(HostError, match="HF_ENDPOINT is not the address") as caught:
        fetch({"HF_ENDPOINT": "https://user:s3cret@host"})
    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_no_hub_is_one_clear_error(hub, fetch):
    with pytest.raises(HostError, match=r"cannot be reached or failed.*404"):
        fetch({"HF_ENDPOINT": hub.storage.address})


def test_a_hub_that_falls_silent_is_given_up(hub, fetch):
    hub.stall_after = 1
    with pytest.raises(HostError, match="no new byte in 2 s"):
        fetch(stalled_s=2.0)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a//b", "a\\b", "a\nb", ".cache/huggingface/x"])
def test_a_path_that_leaves_the_folder_or_is_the_librarys_own_is_refused(hub, fetch, name):
    hub.put(name, b"x")
    with pytest.raises(UsageError, match="is refused") as caught:
        fetch()
    assert "path" in str(caught.value)
    assert hub.fetched() == []


def test_a_repository_that_is_too_large_is_refused_before_a_file_is_fetched(hub, fetch, monkeypatch):
    monkeypatch.setattr("harness.inputs.hub.MAX_BYTES", 100_000)
    with pytest.raises(UsageError, match="100000 are allowed"):
        fetch()
    assert hub.fetched() == []


def test_a_repository_with_too_many_files_is_refused(hub, fetch, monkeypatch):
    monkeypatch.setattr("harness.inputs.hub.MAX_MEMBERS", 4)
    with pytest.raises(UsageError, match="more than 4 files"):
        fetch()


def test_a_hub_that_sends_far_more_than_it_listed_is_stopped(hub, fetch):
    hub.put("model.bin", bytes(70 << 20))
    hub.sizes["model.bin"] = 10
    with pytest.raises(UsageError, match=r"is refused.*File too large"):
        fetch(patterns=("model.bin",))


def test_the_library_sends_no_telemetry_and_keeps_nothing_in_the_users_home(hub, fetch, tmp_path):
    fetch({"HOME": str(tmp_path / "home")})
    assert not (tmp_path / "home").exists()
    assert not any("telemetry" in path for _, path, _ in hub.requests)
