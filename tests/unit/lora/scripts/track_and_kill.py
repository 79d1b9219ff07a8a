"""Write metrics through the trackers, in processes of which some are killed; print what their own readers find.

Runs in the interpreter that has torch, tensorboard and wandb. Usage: track_and_kill.py PIPELINE WORK < configuration
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import determinism
import prepare
import torch
import train as trainer
from config import parse_config
from tracking import VOLATILE, Metrics
from wandb_reader import histories, is_alive, service_of

WORK = Path(sys.argv[2])
DOCUMENT = json.load(sys.stdin)
EPOCH = 3  # steps
SAVE_EVERY = 2


def config(tensorboard=True, wandb=True):
    return parse_config({**DOCUMENT, "tracking": {"tensorboard": tensorboard, "wandb": wandb}})


def train(output, steps, before=None, **trackers):
    """Write what a training of 6 steps writes, from the last checkpoint on; `before` is called before each step."""
    output.mkdir(exist_ok=True)
    saved = output / "saved.json"
    done, lines = json.loads(saved.read_text()) if saved.exists() else (0, 0)
    metrics = Metrics(output / "metrics.jsonl", lines, config(**trackers))
    if not lines:
        metrics.write("validation", 0, validation_loss=9.0)
    for step in range(done + 1, steps + 1):
        if before:
            before(step, metrics)
        metrics.write(
            "step",
            step,
            loss=1.0 / step,
            lr=0.5,
            grad_norm=None,
            tokens_per_s=3.0,
            skipped=False,
            rss_bytes=7,
            vram_bytes=None,
        )
        paths = ["checkpoints/latest.pt"] if step % SAVE_EVERY == 0 else []
        if step % EPOCH == 0:
            metrics.write("epoch", step, epoch=step // EPOCH, loss=2.0 / step, validation_loss=3.0 / step, rss_bytes=8)
            paths = ["checkpoints/latest.pt", f"checkpoints/mini_epoch{step // EPOCH}.pt"]
        if paths:
            metrics.write("checkpoint", step, paths=paths)
            metrics.flush()
            saved.write_text(json.dumps([step, metrics.num_lines]))
    metrics.close()


def die_at(number):
    """Kill this process before a step, once the trackers had the time to write what came before."""

    def before(step, metrics):
        if step == number:
            time.sleep(1.3)  # the service writes once a second
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def forked(work):
    """Run `work` in a process of its own; its exit code (negative: the signal) and what it wrote to stderr."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 2)
        os.close(write)
        code = 70
        try:
            work()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    with os.fdopen(read, errors="replace") as stream:
        said = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def tensorboard_of(output):
    """What TensorBoard itself shows of a training."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(output / "tracking" / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    tags = reader.Tags()
    texts = {
        tag: [(e.step, e.tensor_proto.string_val[0].decode()) for e in reader.Tensors(tag)] for tag in tags["tensors"]
    }
    hparams = [f"_hparams_/{name}" for name in ("experiment", "session_start_info", "session_end_info")]
    return {
        "scalars": {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in tags["scalars"]},
        "texts": texts,
        "hparams": [tag for tag in hparams if tag in reader.summary_metadata],
    }


def left(name, exits):
    output = WORK / name
    files = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    return {
        "exits": exits,
        "tensorboard": tensorboard_of(output),
        "wandb": histories(output),
        "files": files,
        "output": str(output),
    }


def straight():
    return left("straight", [forked(lambda: train(WORK / "straight", 6))])


def killed(name, *at, tear=0):
    """Kill at each of these steps and go on from the last checkpoint; cut bytes off what a kill left."""
    exits = []
    for step in at:
        exits.append(forked(lambda step=step: train(WORK / name, 6, die_at(step))))
        for pattern in ("events.out.*", "*.wandb") if tear else ():
            path = max((WORK / name).rglob(pattern), key=lambda path: path.stat().st_mtime)
            os.truncate(path, path.stat().st_size - tear)
    exits.append(forked(lambda: train(WORK / name, 6)))
    return left(name, exits)


def same_second():
    """Three processes that start within a second of a clock that then goes back, and write to a slow disk."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    fast = RecordWriter.write

    def slow(self, data):
        time.sleep(0.05)
        fast(self, data)

    clock = [1800000000.5, 1800000000.5, 1700000000.5]

    def work(now, at):
        time.time, RecordWriter.write = lambda: now, slow
        train(WORK / "same second", 6, lambda step, _: step == at and os.kill(os.getpid(), signal.SIGKILL), wandb=False)

    exits = [forked(lambda now=now, at=at: work(now, at)) for now, at in zip(clock, (4, 6, None), strict=True)]
    return {"exits": exits, "tensorboard": tensorboard_of(WORK / "same second")}


def generators():
    """Digest of every generator's state: before, and after each thing that a tracker does."""

    def work():
        determinism.seed_everything(3)
        seen = []

        def look(*_):
            states = [v.tolist() if isinstance(v, torch.Tensor) else v for v in determinism.rng_state().values()]
            seen.append(hashlib.sha256(repr(states).encode()).hexdigest())

        look()
        train(WORK / "generators", 6, look)
        look()
        Path(WORK / "generators.json").write_text(json.dumps(seen))

    return {"exit": forked(work), "states": json.loads((WORK / "generators.json").read_text())}


def neither():
    """What a training without trackers imports and leaves."""

    def work():
        train(WORK / "neither", 6, tensorboard=False, wandb=False)
        names = {name.split(".")[0] for name in sys.modules} & {"wandb", "tensorboard"}
        (WORK / "neither.json").write_text(json.dumps(sorted(names)))

    return {
        "exit": forked(work),
        "imported": json.loads((WORK / "neither.json").read_text()),
        "files": sorted(path.name for path in (WORK / "neither").iterdir()),
    }


def the_service_of_a_killed_process():
    """Seconds after which wandb's service process is gone when its parent was killed; a worker of it lives on."""

    def before(step, _):
        if step == 3:
            if os.fork() == 0:  # as a DataLoader's worker: it holds the parent's sockets
                os.close(2)
                time.sleep(20)
                os._exit(0)
            (WORK / "service.json").write_text(json.dumps([time.monotonic(), *service_of(os.getpid())]))
            os.kill(os.getpid(), signal.SIGKILL)

    code = forked(lambda: train(WORK / "service", 6, before))  # returns when all who hold its stderr are gone
    killed_at, *services = json.loads((WORK / "service.json").read_text())
    while any(is_alive(service) for service in services) and time.monotonic() - killed_at < 10:
        time.sleep(0.01)
    return {"exit": code, "services": len(services), "seconds": time.monotonic() - killed_at}


def a_tracker_that_fails():
    """The event folder vanishes, and wandb's service dies, in the middle of a training."""

    def before(step, metrics):
        if step == 3:
            metrics.flush()
            subprocess.run(["rm", "-r", str(WORK / "failing" / "tracking" / "tensorboard")], check=True)
            for service in service_of(os.getpid()):
                os.kill(service, signal.SIGKILL)
            time.sleep(0.5)

    code = forked(lambda: train(WORK / "failing", 6, before))
    return {"exit": code, "lines": len((WORK / "failing" / "metrics.jsonl").read_text().splitlines())}


def a_tracker_that_cannot_start():
    folder = WORK / "unstartable" / "tracking"
    folder.mkdir(parents=True)
    (folder / "tensorboard").write_text("in the way")
    (WORK / "unstartable" / "saved.json").write_text("[0, 1]")
    (WORK / "unstartable" / "metrics.jsonl").write_text('{"kind": "validation", "step": 0, "validation_loss": 1.0}\n')
    return forked(lambda: train(WORK / "unstartable", 6))


def an_environment_that_asks_for_the_network():
    def work():
        os.environ.update(WANDB_MODE="online", WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9")
        train(WORK / "online", 6)

    return left("online", [forked(work)])


def whole_trainings():
    """The same training without trackers, with them, and with them killed in a backward pass and resumed."""
    inputs, prepared = str(WORK / "inputs"), str(WORK / "prepared")
    document = WORK / "config.json"
    document.write_text(json.dumps(DOCUMENT))
    command = ["--config", str(document), "--inputs", inputs, "--output", prepared]
    exits = [forked(lambda: prepare.main(command) and sys.exit("not prepared"))]

    def run(name, tracked, *options, killed_at=None):
        path = WORK / f"{name}.config.json"
        path.write_text(json.dumps({**DOCUMENT, "tracking": {"tensorboard": tracked, "wandb": tracked}}))
        argv = ["--config", str(path), "--prepared", prepared, "--output", str(WORK / name), *options]

        def work():
            if killed_at:
                backward, calls = torch.Tensor.backward, []

                def killing(self, *arguments, **keywords):
                    backward(self, *arguments, **keywords)
                    calls.append(1)
                    if len(calls) == killed_at:
                        os.kill(os.getpid(), signal.SIGKILL)

                torch.Tensor.backward = killing
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if trainer.main(argv):
                sys.exit("not trained")

        exits.append(forked(work))

    run("untracked", False)
    run("tracked", True)
    run("interrupted", True, killed_at=9)
    run("interrupted", True, "--resume")

    def look(name):
        output = WORK / name
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        return {
            "adapter": hashlib.sha256((output / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest(),
            "metrics": [{k: v for k, v in line.items() if k not in VOLATILE} for line in lines],
            "measured": [line for line in lines if line["kind"] in ("step", "epoch")],
            **(left(name, []) if name != "untracked" else {"has tracking": (output / "tracking").exists()}),
        }

    return {"exits": exits, **{name: look(name) for name in ("untracked", "tracked", "interrupted")}}


if __name__ == "__main__":
    standard_output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    results = {"neither": neither(), "generators": generators()}
    import torch.utils.tensorboard
    import wandb  # noqa: F401 -- once, for all that follow

    results |= {
        "straight": straight(),
        "killed": killed("killed", 6),
        "killed twice": killed("killed twice", 4, 6),
        "killed and torn": killed("torn", 6, tear=3),
        "killed before any checkpoint": killed("early", 2),
        "same second": same_second(),
        "service": the_service_of_a_killed_process(),
        "failing": a_tracker_that_fails(),
        "unstartable": a_tracker_that_cannot_start(),
        "online": an_environment_that_asks_for_the_network(),
        "whole": whole_trainings(),
    }
    json.dump(results, standard_output)
    standard_output.close()
