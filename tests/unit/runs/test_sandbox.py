"""The host's sandbox, with real processes: exit codes, kills from outside, time-outs, and what the process sees."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.documents.gpu import GpuRequest
from harness.runs import host
from harness.runs.host import HostSandbox
from harness.runs.sandbox import Mount, ProcessSpec, describe_exit
from harness.system.held import is_free
from tests import ROOT

UUID = "GPU-8f2c0b4e-1111-4e6f-9d7a-000000000001"


def spec(tmp_path, code, **changes):
    (tmp_path / "code").mkdir(exist_ok=True)
    (tmp_path / "code" / "job.py").write_text(code)
    fields = {
        "name": "run/straight/1",
        "argv": ("python", "job.py", "{output}"),
        "mounts": {
            "code": Mount(source=tmp_path / "code", target="/code"),
            "output": Mount(source=tmp_path, target="/out/output", is_writable=True),
        },
        "environment": {"GREETING": "hello"},
        "memory_bytes": 1 << 30,
        "timeout_s": 60,
        "log": tmp_path / "log.txt",
    }
    return ProcessSpec(**{**fields, **changes})


def run(tmp_path, code, watch=lambda: False, gpus=None, **changes):
    return HostSandbox(Path(sys.executable), gpus).execute(spec(tmp_path, code, **changes), watch)


def test_mounts_environment_and_log_reach_the_process(tmp_path):
    outcome = run(tmp_path, "import os, sys; print(os.environ['GREETING'], sys.argv[1], os.getcwd())")
    assert outcome.exit_code == 0
    assert (tmp_path / "log.txt").read_text().split() == ["hello", "/tmp/run/out/output", "/tmp/run/code"]


def test_temporary_files_lie_where_the_quota_looks(tmp_path):
    order = spec(tmp_path, "import time; open('/tmp/much', 'w').write('x'); time.sleep(3)")
    seen = []
    HostSandbox(Path(sys.executable)).execute(order, lambda: seen.extend(order.scratch.rglob("much")) or bool(seen))
    assert seen


def test_a_log_that_is_too_long_begins_again(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.runs.host.LOG_BYTES", 1 << 20)
    code = "import time\nfor _ in range(20):\n print('x' * (1 << 20), flush=True)\n time.sleep(0.1)\nprint('end')"
    run(tmp_path, code)
    log = (tmp_path / "log.txt").read_bytes()
    assert len(log) < 10 << 20 and log.endswith(b"end\n") and b"\0" not in log


def test_secrets_of_the_caller_do_not_reach_the_process(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run(tmp_path, "import os; print(os.environ)")
    assert "hf_secret" not in (tmp_path / "log.txt").read_text()


def test_a_process_that_kills_itself_has_the_code_of_its_signal(tmp_path):
    outcome = run(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert (outcome.exit_code, outcome.was_killed_outside) == (137, False)
    assert describe_exit(outcome) == "SIGKILL (137)"
    assert describe_exit(replace(outcome, oom_killed=True)) == "SIGKILL (137), out of memory (see memory_gib)"


def test_a_kill_from_outside_ends_the_whole_group(tmp_path):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    started = time.monotonic()
    outcome = run(tmp_path, code, watch=lambda: time.monotonic() - started > 1)
    assert (outcome.exit_code, outcome.was_killed_outside) == (137, True)


def test_a_process_that_runs_too_long_says_so(tmp_path):
    outcome = run(tmp_path, "import time; time.sleep(60)", timeout_s=1)
    assert outcome.error == "it ran longer than timeout_s: 1"


def test_an_exception_of_the_watcher_ends_the_process(tmp_path):
    class Stop(Exception):
        pass

    def watch():
        raise Stop

    done = threading.Event()
    try:
        run(tmp_path, f"import time; time.sleep(5); open({str(tmp_path / 'late')!r}, 'w')", watch=watch)
    except Stop:
        done.set()
    assert done.is_set()
    time.sleep(0.2)
    assert not (tmp_path / "late").exists()


SHOW = "import os; print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')), os.environ.get('CUDA_DEVICE_ORDER'))"


def test_a_process_that_was_given_no_gpu_sees_none(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    outcome = run(tmp_path, SHOW)
    assert (tmp_path / "log.txt").read_text().split() == ["''", "None"]
    assert outcome.settings["gpus"] == []


def test_gpus_are_given_by_uuid_whatever_the_caller_has_set(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    outcome = run(tmp_path, SHOW, gpus=GpuRequest(uuids=(UUID, "GPU-2"), chosen_by="test"))
    assert (tmp_path / "log.txt").read_text().split() == [f"'{UUID},GPU-2'", "PCI_BUS_ID"]
    assert outcome.settings["gpus"] == [UUID, "GPU-2"]


def test_an_experiment_may_say_how_cuda_numbers_its_gpus_and_not_which_they_are(tmp_path):
    environment = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "CUDA_VISIBLE_DEVICES": "7"}
    run(tmp_path, SHOW, gpus=GpuRequest(uuids=(UUID,), chosen_by="test"), environment=environment)
    assert (tmp_path / "log.txt").read_text().split() == [f"'{UUID}'", "FASTEST_FIRST"]


LOST = "import sys; sys.exit('RuntimeError: CUDA error: unspecified launch failure')"


def test_a_process_that_lost_its_gpu_cannot_be_judged(tmp_path):
    outcome = run(tmp_path, LOST, gpus=GpuRequest(uuids=(UUID,), chosen_by="test"))
    assert outcome.exit_code == 1 and outcome.error.startswith("the GPU was lost: ")


def test_the_same_words_of_a_process_without_a_gpu_or_of_one_that_ended_well_mean_nothing(tmp_path):
    assert run(tmp_path, LOST).error is None
    gpus = GpuRequest(uuids=(UUID,), chosen_by="test")
    assert run(tmp_path, "print('CUDA out of memory')", gpus=gpus).error is None
    killed = run(tmp_path, "import os; print('CUDA out of memory', flush=True); os.kill(os.getpid(), 9)", gpus=gpus)
    assert (killed.exit_code, killed.error) == (137, None)


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
"""


@pytest.fixture(params=["namespaces", "none"])
def where(request, monkeypatch):
    """A machine whose kernel gives namespaces, and one on which it does not."""
    if request.param == "none":
        monkeypatch.setattr(host, "namespaces", lambda: ())
    elif not host.namespaces():
        pytest.skip("no namespaces here")
    return request.param


def alive(tmp_path):
    """Whether a process that was started with this folder's path is left."""
    return [one for one in Path("/proc").glob("[0-9]*/cmdline") if _names(one, str(tmp_path / "mark"))]


def _names(path, text):
    try:
        return text.encode() in path.read_bytes()
    except OSError:  # it ended meanwhile
        return False


@pytest.mark.usefixtures("where")
def test_what_outlives_a_training_is_told_and_ended(tmp_path):
    code = DAEMON + "print('trained')"
    outcome = run(tmp_path, code, argv=("python", "job.py", str(tmp_path / "mark")))
    assert outcome.exit_code == 0
    assert (
        outcome.error is not None and "left processes that outlived it" in outcome.error and "job.py" in outcome.error
    )
    assert not alive(tmp_path)


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("by", ["self", "outside"])
def test_nothing_is_left_of_a_training_that_is_killed(tmp_path, by):
    code = DAEMON + ("os.kill(os.getpid(), 9)" if by == "self" else "time.sleep(60)")
    started = time.monotonic()
    watch = (lambda: False) if by == "self" else (lambda: time.monotonic() - started > 1)
    outcome = run(tmp_path, code, watch=watch, argv=("python", "job.py", str(tmp_path / "mark")))
    assert (outcome.exit_code, outcome.error, outcome.was_killed_outside) == (137, None, by == "outside")
    assert not alive(tmp_path)


HARNESS = """
import sys, threading
from pathlib import Path
from harness.runs import host
from tests.unit.runs.test_sandbox import DAEMON, run
if sys.argv[1] == "none":
    host.namespaces = lambda: ()
code, argv = DAEMON + "time.sleep(600)", ("python", "job.py", sys.argv[2] + "/mark")
threading.Thread(target=run, args=(Path(sys.argv[2]), code), kwargs={"argv": argv}).start()
"""


def test_nothing_is_left_of_a_training_whose_harness_is_killed(tmp_path, where):
    harness = subprocess.Popen([sys.executable, "-c", HARNESS, where, str(tmp_path)], cwd=ROOT)
    wait_until(lambda: len(alive(tmp_path)) >= 3)  # what starts the training, it, and its daemon
    harness.kill()
    harness.wait()
    wait_until(lambda: not alive(tmp_path))
    assert is_free(tmp_path / "log.lock"), "by this its containers are known for what they are"


def wait_until(holds):
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert holds()


@pytest.mark.usefixtures("where")
def test_a_program_that_is_not_there_is_told_in_the_log(tmp_path):
    outcome = run(tmp_path, "", argv=("no-such-program",))
    assert outcome.exit_code == 127
    assert "no-such-program: No such file" in (tmp_path / "log.txt").read_text()


def test_a_training_has_temporary_folders_and_a_host_name_of_its_own(tmp_path):
    if not host.namespaces():
        pytest.skip("no namespaces here")
    code = """
import os, socket, tempfile
from pathlib import Path
print(socket.gethostname(), socket.gethostbyname(socket.gethostname()), tempfile.gettempdir(), os.getpid())
for folder in ("/tmp", "/var/tmp", "/dev/shm"):
    assert not list(Path(folder).glob("left-*")), folder
    (Path(folder) / "left-by-one").touch()
"""
    for pid in (10, 30):
        outcome = run(tmp_path, code, host_name="trainer-7", num_processes_before=pid)
        assert outcome.exit_code == 0, (tmp_path / "log.txt").read_text()
        name, address, folder, found = (tmp_path / "log.txt").read_text().split()
        assert (name, address, folder, outcome.settings["host_name"]) == ("trainer-7", "127.0.0.1", "/tmp", "trainer-7")
        assert pid < int(found) < pid + 9


@pytest.fixture
def folder():
    """A folder of this machine that trainings see: none of those of which each has its own."""
    places = (Path("/opt"), Path.home(), ROOT)
    seen = (place for place in places if os.access(place, os.W_OK) and not str(place).startswith(host.COVERED))
    with tempfile.TemporaryDirectory(dir=next(seen)) as name:
        yield Path(name)


def test_what_is_written_anywhere_is_seen_by_later_runs_of_the_same_training_alone(tmp_path, folder):
    if not host.namespaces():
        pytest.skip("no namespaces here")
    (folder / "old").write_text("old")
    code = f"""
from pathlib import Path
folder = Path({str(folder)!r})
print(sorted(path.name for path in folder.iterdir()), (folder / "old").read_text())
(folder / "old").write_text("changed")
(folder / "new").write_text("new")
"""
    first, later = "['old'] old\n", "['new', 'old'] changed\n"
    for training, seen in (("a", first), ("b", first), ("a", later)):
        outcome = run(tmp_path, code, elsewhere=tmp_path / training)
        assert (tmp_path / "log.txt").read_text() == seen
        assert outcome.settings["shared_elsewhere"] == (None if os.geteuid() == 0 else ["the folders of other users"])
        assert outcome.settings["written_elsewhere"] == [f"{folder}/new", f"{folder}/old"]
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("old", "old")]


def test_where_the_kernel_takes_no_layers_nothing_is_said_of_them(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(host, "has_layers", lambda: False)
    outcome = run(tmp_path, f"open({str(folder / 'new')!r}, 'w').close()", elsewhere=tmp_path / "a")
    assert (outcome.exit_code, (folder / "new").exists()) == (0, True)
    assert not {"shared_elsewhere", "written_elsewhere"} & outcome.settings.keys()


def test_a_training_that_was_ended_before_its_layers_were_mounted_is_no_error(tmp_path):
    (tmp_path / "layer-%2Fsrv" / "upper").mkdir(parents=True)
    assert host._elsewhere(tmp_path)["written_elsewhere"] == []


def test_two_trainings_at_once_may_listen_on_the_same_port(tmp_path):
    """Many scripts write MASTER_PORT down."""
    if not host.namespaces():
        pytest.skip("no namespaces here")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = f"""
import socket
with socket.create_server(("127.0.0.1", {port})) as server, socket.create_connection(server.getsockname()):
    print("connected")
"""
        outcome = run(tmp_path, code)
    assert (outcome.exit_code, outcome.settings["network_mode"]) == (0, "none"), (tmp_path / "log.txt").read_text()
