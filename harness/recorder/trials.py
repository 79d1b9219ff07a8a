"""What a diagnosis changes in a copy of a training, to see if the difference goes: one piece of state, a switch."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from _harness_recorder import streams

KEPT, GIVEN = "state.pt", "given.pt"
State = dict[str, Any]


def attempt(session: Any, what: str, change: Callable[[Any, str], None]) -> None:
    """Change something and say so; what cannot be changed ends neither the recording nor the training."""
    try:
        change(session, what)
        session.run.event("given", piece=what)
    except Exception as error:
        session.run.event("not_given", piece=what, reason=f"{type(error).__name__}: {error}"[:300])


def keep(session: Any, _: str) -> None:
    """Write the state of this process beside its ledger: what a resumed one is to be given."""
    collect = session.collect
    state = {
        "rng": _generators(collect),
        "lr": _rates(collect),
        "optim": [optimizer.state_dict() for _, optimizer in collect.live_optimizers()],
        "param": _tensors(collect.params()),
        "buffer": _tensors(collect.buffer_tensors()),
    }
    torch.save(state, session.run.path / KEPT)


def give(session: Any, piece: str) -> None:
    """Set one piece of this process's state to what lies in the folder of the trajectory's first run."""
    given = torch.load(session.run.path.parent / "1" / GIVEN, weights_only=True)[piece]
    collect = session.collect
    if piece == "rng":
        _set_generators(given)
    elif piece == "lr":
        _set_rates(collect, given)
    elif piece == "optim":
        for (_, optimizer), state in zip(collect.live_optimizers(), given, strict=True):
            optimizer.load_state_dict(state)
    else:
        live = collect.params() if piece == "param" else collect.buffer_tensors()
        for name, tensor in _tensors(live).items():
            tensor.copy_(given[name])


def switch(_: Any, name: str) -> None:
    """Turn on what makes torch's operators repeat themselves."""
    if name == "deterministic":
        torch.use_deterministic_algorithms(True)
    else:
        torch.set_num_threads(1)


def _tensors(items: streams.Items) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in items.items() if isinstance(value, torch.Tensor)}


def _generators(collect: streams.Collector) -> State:
    """Return the states of the generators that are part of the ledger."""
    seen = collect.rng()
    found: State = {"torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    if "python" in seen:
        found["python"] = sys.modules["random"].getstate()
    if "numpy" in seen:
        name, key, *rest = sys.modules["numpy.random"].get_state()
        found["numpy"] = (name, key.tolist(), *rest)
    return found


def _set_generators(given: State) -> None:
    torch.set_rng_state(given["torch"])
    if "cuda" in given:
        torch.cuda.set_rng_state_all(given["cuda"])
    if "python" in given and "random" in sys.modules:
        sys.modules["random"].setstate(given["python"])
    if "numpy" in given and "numpy.random" in sys.modules:
        sys.modules["numpy.random"].set_state(given["numpy"])


def _rates(collect: streams.Collector) -> State:
    groups = [
        [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        for _, optimizer in collect.live_optimizers()
    ]
    schedules = [_numbers(scheduler) for known in collect.schedulers if (scheduler := known()) is not None]
    return {"groups": groups, "schedules": schedules}


def _set_rates(collect: streams.Collector, given: State) -> None:
    for (_, optimizer), groups in zip(collect.live_optimizers(), given["groups"], strict=True):
        for group, values in zip(optimizer.param_groups, groups, strict=True):
            group.update(values)
    live = [scheduler for known in collect.schedulers if (scheduler := known()) is not None]
    for scheduler, values in zip(live, given["schedules"], strict=True):
        vars(scheduler).update(values)


def _numbers(scheduler: Any) -> State:
    return {key: value for key, value in vars(scheduler).items() if streams.is_numeric(value)}
