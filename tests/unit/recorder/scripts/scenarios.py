"""Small trainings, each with one habit that a recorder has to cope with; the first argument names one.

Each prints the final weights' sha256, so that a run with the recorder can be compared with one without; `all` runs
them in turn.
"""

import hashlib
import io
import itertools
import json
import os
import sys
import threading
import time
from contextlib import redirect_stdout

import torch
from torch import nn

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def small(*sizes: int) -> nn.Sequential:
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Dropout(0.1))])


class Language(nn.Module):
    """Takes keyword arguments and returns a loss and logits in a dictionary, as transformers' models do."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(8, 11)
        self.register_buffer("calls", torch.zeros(1))
        self.embedding.weight.requires_grad_(False)

    def forward(self, input_ids=None, labels=None, **_):
        if self.training:
            self.calls += 1
        logits = self.head(nn.functional.dropout(self.embedding(input_ids), 0.1, self.training))
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        noise = torch.randn(2) * 0  # a worker's own generator moves; the parent's must not
        tokens = (torch.arange(4) * (index + 1)) % 11 + noise.sum().long()
        return {"input_ids": tokens, "labels": tokens.roll(1), "text": f"row {index}"}


@scenario
def accumulation_with_workers():
    model = Language()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + n))
    loader = torch.utils.data.DataLoader(
        Words(), batch_size=3, shuffle=True, num_workers=2, generator=torch.Generator().manual_seed(1)
    )
    for number, batch in enumerate(loader, 1):
        (model(**batch)["loss"] / 4).backward()
        if number % 4 == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            model.eval()
            with torch.no_grad():
                for row in range(2):
                    model(**{key: torch.as_tensor(value)[None] for key, value in Words()[row].items() if key != "text"})
            model.train()
    return model


@scenario
def without_clipping():
    return _plain(None)


@scenario
def with_norm_clipping():
    return _plain(lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, 1e-3))


@scenario
def with_value_clipping():
    return _plain(lambda parameters: torch.nn.utils.clip_grad_value_(parameters, 1e-3))


def _plain(clip):
    model = small(4, 3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for _ in range(2):
            model(torch.randn(5, 4)).pow(2).mean().backward()
        if clip is not None:
            clip(model.parameters())
        optimizer.step()
        optimizer.zero_grad()
    return model


@scenario
def recomputation():
    from torch.utils.checkpoint import checkpoint

    model, head = small(4, 6, 4), nn.Linear(4, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = model, head

        def forward(self, x):
            return self.head(checkpoint(self.body, x, use_reentrant=True))

    whole = Whole()
    for _ in range(2):
        whole(torch.randn(3, 4).requires_grad_()).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return whole


@scenario
def closure():
    model = small(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    x = torch.randn(6, 4)

    def evaluate():
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(evaluate)
    return model


@scenario
def scaler_that_skips():
    model = small(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=100)
    for number in range(4):
        loss = model(torch.randn(3, 4)).pow(2).mean() * (float("inf") if number == 1 else 1.0)
        scaler.scale(loss).backward()
        if number == 3:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        print("scale", scaler.get_scale())
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return model


@scenario
def adversaries():
    generator, critic = small(3, 4), small(4, 1)
    of_critic = torch.optim.Adam(critic.parameters(), lr=0.01)
    of_generator = torch.optim.Adam(generator.parameters(), lr=0.01)
    for _ in range(3):
        critic(generator(torch.randn(2, 3)).detach()).mean().backward()
        of_critic.step()
        of_critic.zero_grad()
        critic(generator(torch.randn(2, 3))).mean().backward()
        of_generator.step()
        of_generator.zero_grad()
    return nn.ModuleList([generator, critic])


@scenario
def one_optimizer_is_idle():
    model, unused = small(4, 1), nn.Linear(2, 2)
    optimizer, idle = torch.optim.Adam(model.parameters()), torch.optim.Adam(unused.parameters())
    for _ in range(3):
        for _ in range(2):
            model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    idle.zero_grad()
    return model


@scenario
def calls_its_parent():
    class Child(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    model = small(4, 1)
    optimizer = Child(model.parameters(), lr=0.1)
    for _ in range(2):
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
    return model


@scenario
def without_a_module():
    weight = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    for _ in range(2):
        (weight * torch.randn(3)).sum().backward()
        optimizer.step()
    return weight


@scenario
def assigned_weights():
    model = small(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    model.load_state_dict({key: value + 1 for key, value in model.state_dict().items()}, assign=True)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    return model


@scenario
def lazy_layers():
    """Their parameters get shapes in the first forward, before there is an optimizer."""
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))
    model(torch.randn(2, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
    return model


@scenario
def half_precision_and_sparse():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(6, 3, sparse=True)
            self.scale = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
            self.register_buffer("large", torch.ones(300, 300))

        def forward(self, rows, extra):
            if extra["grow"]:
                self.large += 1
            return (self.table(rows) * self.scale.float()).sum() * self.large[0, 0]

    model = Mixed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.125)
    for number in range(3):
        model(torch.tensor([1, 2, 1]), {"grow": number == 1, "object": object()}).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.scale = small(4, 6, 1), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.layers(x) * self.scale


def fresh_compiler():
    torch.compiler.reset()
    sys.modules["torch._dynamo.utils"].counters.clear()


def _compiled(model, call):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        call(torch.randn(3, 4)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    counters = sys.modules["torch._dynamo.utils"].counters
    print("frames", dict(counters["frames"]), "graphs", counters["stats"].get("unique_graphs", 0))
    return model


@scenario
def compiled():
    fresh_compiler()
    model = Net()
    return _compiled(model, torch.compile(model, backend="aot_eager", fullgraph=True))


@scenario
def compiled_in_place():
    fresh_compiler()
    model = Net()
    model.compile(backend="aot_eager", fullgraph=True)
    return _compiled(model, model)


@scenario
def compiled_in_place_in_vain():
    """torch.compile leaves a module of torch's own alone here, and must not be led to compile the recorder instead."""
    fresh_compiler()
    model = small(4, 6, 1)
    model.compile(backend="aot_eager")
    return _compiled(model, model)


@scenario
def compiled_function():
    fresh_compiler()
    model = Net()

    @torch.compile(backend="aot_eager", fullgraph=True)
    def call(x):
        return model(x) * 2

    return _compiled(model, call)


@scenario
def compiled_update():
    fresh_compiler()
    model = small(4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    update = torch.compile(optimizer.step, backend="aot_eager")
    for _ in range(3):
        model(torch.randn(3, 4)).pow(2).mean().backward()
        update()
        optimizer.zero_grad()
    print(sys.modules["torch._dynamo.utils"].counters["stats"].get("unique_graphs", 0))
    return model


@scenario
def another_process_trains_too():
    import subprocess

    model = _plain(None)
    subprocess.run([sys.executable, __file__, "without_clipping"], check=True, stdout=subprocess.DEVNULL)
    return model


@scenario
def another_thread_writes():
    """The next step is trained while the recorder is busy with what a thread writes."""
    model, is_begun = small(4, 8, 2), threading.Event()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    writer = threading.Thread(target=torch.save, args=(model.state_dict(), os.devnull))
    for number in range(4):
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        if number == 1:
            if "_harness_recorder.ledger" in sys.modules:
                _linger(sys.modules["_harness_recorder.ledger"].RunFolder, is_begun)
            writer.start()
            is_begun.wait(0.2)
    writer.join()
    return model


def _linger(folder, is_begun):
    """Make the recorder take its time over the beginning of a write."""
    event = folder.event

    def slow(self, kind, **fields):
        event(self, kind, **fields)
        if kind == "save_begin":
            is_begun.set()
            time.sleep(0.2)

    folder.event = slow


@scenario
def broken_recorder():
    model = small(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number in range(4):
        if number == 2 and "_harness_recorder.records" in sys.modules:
            del sys.modules["_harness_recorder.records"].digest.launch
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
    return model


def weights_digest(model) -> str:
    tensors = [model] if isinstance(model, torch.Tensor) else model.state_dict().values()
    return hashlib.sha256(
        b"".join(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors)
    ).hexdigest()


def run(name: str) -> None:
    torch.manual_seed(11)
    print("weights", weights_digest(SCENARIOS[name]()))
    print("next", torch.rand(1).item())


if __name__ == "__main__":
    if sys.argv[1] == "all":
        outputs = {}
        for each in SCENARIOS:
            with redirect_stdout(io.StringIO()) as output:
                run(each)
            outputs[each] = output.getvalue()
        print(json.dumps(outputs))
    else:
        run(sys.argv[1])
