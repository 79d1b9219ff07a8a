"""Run scenarios of trainings, each run in a process of its own, some killed; print what they left as JSON.

Runs in the interpreter that has torch. One process imports everything once and forks for each run, because
importing takes longer than these trainings do. Usage: train_and_kill.py PIPELINE WORK < scenarios.json
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import data
import numpy
import prepare
import torch
import tracking
import train
from config import load_config
from generate import generate
from peft import PeftModel
from transformers import LlamaForCausalLM

WORK = Path(sys.argv[2])


def install(fault, count):
    """Make this process kill itself at the `count`-th backward, replacement or checkpoint's write; or `draw`."""
    left = [count]

    def due():
        left[0] -= 1
        return left[0] == 0

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    backward, replace, save = torch.Tensor.backward, os.replace, torch.save

    def killing_backward(self, *arguments, **keywords):
        backward(self, *arguments, **keywords)
        if due():
            die()

    def killing_replace(*arguments):
        if due():
            die()
        replace(*arguments)

    def killing_save(state, path, *arguments, **keywords):
        save(state, path, *arguments, **keywords)
        if due():
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    if fault == "backward":
        torch.Tensor.backward = killing_backward
    elif fault == "replace":
        os.replace = killing_replace
    elif fault == "save":
        torch.save = killing_save
    elif fault == "draw":
        train.loss_sum = drawing_in_validation(train.loss_sum)


def drawing_in_validation(loss_sum):
    """A model that draws random numbers wherever it is evaluated, as one that samples would."""

    def drawing(training, batch):
        if not training.model.training:
            random.random(), numpy.random.rand(), torch.rand(3)
        return loss_sum(training, batch)

    return drawing


def run(folder, number, config, spec):
    """Damage, remove or keep what the run's specification names, then train in a process of its own."""
    output = folder / "output"
    if "keep" in spec:
        for path in (output / "checkpoints").iterdir():
            if not path.match(spec["keep"]) and not path.match(spec["keep"] + ".sha256"):
                path.unlink()
        shutil.rmtree(output / "adapter", ignore_errors=True)
    for name in spec.get("damage", []):
        path = output / "checkpoints" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    for name in spec.get("remove", []):
        (output / name).unlink()
    path = folder / f"config{number}.json"
    path.write_text(json.dumps(config))
    command = ["--config", str(path), "--prepared", str(WORK / spec.get("prepared", "prepared"))]
    command += ["--output", str(output)] + ["--resume"] * spec.get("resume", False)

    def work():
        install(spec.get("fault"), spec.get("count"))
        return train.main(command)

    return forked(work, folder / str(number))


def forked(work, log):
    """Run `work` in a process of its own; return its exit code (negative: the signal) and what it printed."""
    streams = [log.with_suffix(suffix) for suffix in (".out", ".err")]
    child = os.fork()
    if child == 0:
        for descriptor, stream in enumerate(streams, start=1):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), descriptor)
        code = 70
        try:
            code = work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    out, err = (stream.read_text() for stream in streams)
    return {"exit": os.waitstatus_to_exitcode(status), "out": out, "err": err}


def feed(digest, value):
    """Hash a checkpoint's content: types, keys, values, and the bits of tensors."""
    digest.update(type(value).__name__.encode())
    if isinstance(value, dict):
        for key in value:
            digest.update(repr(key).encode())
            feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(str(len(value)).encode())
        for item in value:
            feed(digest, item)
    elif isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
    else:
        assert value is None or isinstance(value, (bool, int, float, str)), type(value)
        digest.update(repr(value).encode())


def content(path):
    """Return a digest of what a file says, whatever its bytes are and whenever it was written."""
    digest = hashlib.sha256()
    if path.suffix == ".pt":
        feed(digest, torch.load(path, weights_only=True))
    elif path.name == "metrics.jsonl":
        for record in metrics(path):
            digest.update(json.dumps(record, sort_keys=True).encode())
    else:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def metrics(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k not in tracking.VOLATILE} for line in lines]


def scenario(name, spec):
    folder = WORK / name.replace(" ", "-")
    folder.mkdir()
    runs = [run(folder, n, r["config"], r) for n, r in enumerate(spec["runs"])]
    output = folder / "output"
    files = [path for path in sorted(output.rglob("*")) if path.is_file() and path.suffix != ".sha256"]
    complete = runs[-1]["exit"] == 0
    return {
        "runs": runs,
        "folder": str(folder),
        "content": {str(path.relative_to(output)): content(path) for path in files} if complete else {},
        "metrics": metrics(output / "metrics.jsonl"),
    }


def prepared(name, config):
    """Prepare the data into a folder; return what the process said and a digest of each file's bytes."""
    folder = WORK / name
    folder.mkdir()
    path = WORK / f"{name}.json"
    path.write_text(json.dumps(config))
    command = ["--config", str(path), "--inputs", str(WORK / "inputs"), "--output", str(folder)]
    result = forked(lambda: prepare.main(command), WORK / name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {**result, "files": {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}}


def validation_loss(model):
    """The mean loss over the validation pairs, one pair at a time, with transformers' own loss."""
    total = num_tokens = 0
    for pair in data.load_pairs(WORK / "prepared", "validation"):
        batch = data.collate([pair], pad_token_id=0)
        with torch.no_grad():
            total += model(**batch).loss.item() * data.num_targets(batch)
        num_tokens += data.num_targets(batch)
    return total / num_tokens


def adapter(output):
    """Load an adapter as anybody would, with peft alone, and look at it."""
    base = LlamaForCausalLM.from_pretrained(WORK / "prepared" / "model")
    base_loss = validation_loss(base)
    model = PeftModel.from_pretrained(base, output / "adapter").eval()
    state = torch.load(output / "checkpoints" / "latest.pt", weights_only=True)
    weights = {name: tensor for name, tensor in model.named_parameters() if "lora_" in name}
    config, question = load_config(output / "config.json"), "Define: anvil (noun)"
    return {
        "base": base_loss,
        "adapted": validation_loss(model),
        "names": [sorted(weights), sorted(state["model"])],
        "same weights": all(torch.equal(weights[name], state["model"][name]) for name in weights),
        "answers": [generate(config, WORK / "prepared", output / "adapter", question, 12) for _ in range(2)],
    }


def main():
    document = json.load(sys.stdin)
    standard_output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    results = {
        "prepared": prepared("prepared", document["config"]),
        "prepared again": prepared("prepared-again", document["config"]),
        "with other pairs": prepared("prepared-with-other-pairs", document["with other pairs"]),
        "scenarios": {name: scenario(name, spec) for name, spec in document["scenarios"].items()},
        "preparations": {name: prepared(name, config) for name, config in document["preparations"].items()},
    }
    # Last, and in this process: torch's threads do not survive a fork.
    results["adapter"] = adapter(Path(results["scenarios"]["straight"]["folder"]) / "output")
    json.dump(results, standard_output)
    standard_output.close()


if __name__ == "__main__":
    main()
