"""A few steps of an experiment, in its image, under a CPU model that this machine does not have.

qemu's user mode emulation translates every instruction, so what a library finds out by CPUID is what the model says,
and the approximations that vendors are free in (rcpps, rsqrtps) are qemu's own. The image, the code, the recorder, the
inputs and the environment are those of a certify: only the program that starts Python is put in front of it.
"""

import contextlib
import dataclasses
import threading
import time
from pathlib import Path

import docker
from docker.types import Mount as DockerMount

from harness.documents.digest import canonical_json
from harness.documents.run import Fault
from harness.inputs.fetch import fetch_input
from harness.report.console import Progress
from harness.runs.context import RunContext
from harness.runs.load_evidence import load_trajectory
from harness.runs.preparation import preparation_key, prepare
from harness.runs.runtime import RuntimeRequest, make_runtime
from harness.runs.sandbox import Mount
from harness.runs.trajectory import run_straight
from harness.system.git import read_checkout
from harness.system.project import read_experiment
from harness.system.sources import RECORDER
from harness.system.store import tree_digest

EMULATOR = Path("/usr/bin/qemu-x86_64-static")
PYTHON = "/opt/venv/bin/python"


class EmulatedSandbox:
    """Another sandbox's processes, under a CPU model of qemu's (`qemu-x86_64-static -cpu help` lists them)."""

    kind = "docker"

    def __init__(self, inner, model):
        self._inner, self._model = inner, model

    def path(self, mount):
        return self._inner.path(mount)

    def execute(self, spec, watch):
        emulator = Mount(source=EMULATOR, target="/emulator/qemu")
        assert spec.argv[0] == "python", "only what starts with the image's interpreter can be emulated here"
        return self._inner.execute(
            dataclasses.replace(
                spec,
                argv=(emulator.target, "-cpu", self._model, PYTHON, *spec.argv[1:]),
                mounts={**spec.mounts, "emulator": emulator},
                memory_bytes=2 * spec.memory_bytes,
            ),
            watch,
        )


def run_script(image_id, name, model, environment):
    """What a script of this folder prints when the image runs it, natively or under a model."""
    client = docker.from_env(timeout=3600)
    mounts = [
        DockerMount("/emulator/qemu", str(EMULATOR), "bind", read_only=True),
        DockerMount("/script.py", str(Path(__file__).with_name(name)), "bind", read_only=True),
    ]
    try:
        out = client.containers.run(
            image_id,
            [*(() if model is None else ("/emulator/qemu", "-cpu", model)), PYTHON, "/script.py"],
            entrypoint=[],
            environment=environment,
            mounts=mounts,
            network_mode="none",
            read_only=True,
            init=True,
            tmpfs={"/tmp": ""},
            user="1000:1000",
            remove=True,
            stdout=True,
            stderr=False,
        )
    finally:
        client.close()
    return out.decode()


class _Teller(Progress):
    """Progress on the console, whose stages are contexts."""

    @contextlib.contextmanager
    def stage(self, name, detail):
        super().stage(name, detail)
        yield


class Trainings:
    """Straight trainings of the first steps of an experiment, natively or emulated, in one folder."""

    def __init__(self, root, name, steps, folder, store, environment=None):
        self.steps, self.folder = steps, folder
        experiment = read_experiment(root, name)
        if environment is not None:
            declared = {**experiment.environment, **environment}
            kept = {key: value for key, value in declared.items() if value is not None}
            experiment = experiment.model_copy(update={"environment": kept})
        self.experiment = experiment
        folder.mkdir(parents=True)
        checkout = read_checkout(root)
        checkout.export(folder / "code")
        (folder / "config.json").write_bytes(canonical_json(experiment.config) + b"\n")
        with _Teller() as progress:
            request = RuntimeRequest(
                root=root,
                image=experiment.image,
                num_gpus=0,
                runner="docker",
                engine="auto",
                gpu=None,
                python=None,
                is_rebuild_required=False,
            )
            ready = make_runtime(request, store, progress)
            self.image_id = ready.sandbox._image_id
            inputs = {
                key: fetch_input(value.named(key), store, root, progress.note)
                for key, value in sorted(experiment.inputs.items())
            }
            context = RunContext(
                experiment=experiment,
                name=name,
                run_id=folder.name,
                commit=checkout.commit,
                sandbox=ready.sandbox,
                folder=folder,
                code=folder / "code",
                config=folder / "config.json",
                recorder=RECORDER,
                inputs=inputs,
                prepared=None,
                listener=progress,
                cancel=threading.Event(),
            )
            if experiment.prepare:
                key = preparation_key(context, ready.image_id, tree_digest(folder / "code"))
                context = dataclasses.replace(context, prepared=prepare(context, store, key)[0])
        self.context = context

    def train(self, name, model=None):
        """The evidence of a training that stops after so many steps, and the seconds it took; `model` emulates it."""
        sandbox = self.context.sandbox if model is None else EmulatedSandbox(self.context.sandbox, model)
        began = time.monotonic()
        with _Teller() as progress:
            context = dataclasses.replace(self.context, sandbox=sandbox, listener=progress)
            records = run_straight(context, name, (Fault(kind="stop", step=self.steps),))
        seconds = time.monotonic() - began
        declared = self.experiment
        evidence = load_trajectory(
            self.folder / name, name, records, declared.outputs, declared.checkpoints, declared.policy.volatile
        )
        return evidence, seconds

    def log(self, name):
        return (self.folder / name / "log-1.txt").read_text(errors="replace")
