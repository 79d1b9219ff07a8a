"""Small trainings that save and resume, each with a habit by which its state is easily mistaken.

`habits.py NAME OUTPUT [--resume]`; each trains some steps, writes `last.pt` now and then, and `final.pt` at the end.
"""

import copy
import itertools
import os
import sys
from pathlib import Path

import torch
from torch import nn

HABITS = {}
OUTPUT, IS_RESUMED = Path(sys.argv[2]), "--resume" in sys.argv


def habit(function):
    HABITS[function.__name__] = function
    return function


def small(*sizes):
    layers = [(nn.Linear(a, b), nn.GELU()) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[part for layer in layers for part in layer][:-1])


def batch(number, width=8):
    return torch.randn(8, width, generator=torch.Generator().manual_seed(number))


def save(state, name="last.pt"):
    torch.save(state, OUTPUT / "tmp")
    os.replace(OUTPUT / "tmp", OUTPUT / name)


def loss_of(model, number):
    x = batch(number)
    return (model(x) - x[:, :4]).square().mean()


def loop(model, optimizer, after=None, saved=None, loaded=None, before_save=None, after_save=None, scale=None, num=12):
    """Train with a checkpoint each third step; the arguments are what is done at the marked places."""
    step = 0
    if IS_RESUMED:
        state = torch.load(OUTPUT / "last.pt", weights_only=False)
        step = state["step"]
        if loaded is not None:
            loaded(state)
        else:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
    while step < num:
        optimizer.zero_grad()
        (loss_of(model, step) * (1.0 if scale is None else scale(step))).backward()
        optimizer.step()
        step += 1
        if after is not None:
            after()
        if step % 3 == 0:
            if before_save is not None:
                before_save()
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            save(state if saved is None else saved(state))
            if after_save is not None:
                after_save()
    save(model.state_dict(), "final.pt")


def clamp(model):
    for parameter in model.parameters():
        parameter.data.clamp_(-0.2, 0.2)


@habit
def clamped_through_data():
    model = small(8, 16, 4)
    loop(model, torch.optim.SGD(model.parameters(), lr=0.1), after=lambda: clamp(model))


@habit
def clamped_after_the_save():
    model = small(8, 16, 4)
    loop(model, torch.optim.SGD(model.parameters(), lr=0.1), after_save=lambda: clamp(model))


@habit
def weights_stand_still_at_first():
    model = small(8, 16, 4)
    loop(model, torch.optim.SGD(model.parameters(), lr=0.1), scale=lambda step: float(step >= 6))


@habit
def a_trial_forward_before_the_load():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 16))
    model = nn.Sequential(layer, nn.GELU(), nn.Linear(16, 4))
    model(torch.zeros(2, 8))
    loop(model, torch.optim.AdamW(model.parameters(), lr=0.01))


@habit
def averages_swapped_in_for_evaluation():
    model = small(8, 16, 4)
    average = copy.deepcopy(model)

    def swap():
        raw = [parameter.data.clone() for parameter in model.parameters()]
        for one, other in zip(model.parameters(), average.parameters(), strict=True):
            other.data.mul_(0.9).add_(one.data, alpha=0.1)
            one.data.copy_(other.data)
        with torch.no_grad():
            model(batch(99))
        for one, value in zip(model.parameters(), raw, strict=True):
            one.data.copy_(value)

    loop(model, torch.optim.AdamW(model.parameters(), lr=0.01), before_save=swap)


@habit
def an_optimizer_without_a_counter():
    class Lion(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure=None):
            for parameter in self.param_groups[0]["params"]:
                moment = self.state[parameter].setdefault("m", torch.zeros_like(parameter))
                parameter.add_((moment * 0.9 + parameter.grad * 0.1).sign(), alpha=-1e-3)
                moment.mul_(0.99).add_(parameter.grad, alpha=0.01)

    model = small(8, 16, 4)
    loop(model, Lion(model.parameters(), {}))


@habit
def rounded_weights_and_no_optimizer():
    model = small(8, 16, 4)
    loop(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.01),
        saved=lambda state: {**state, "model": {key: value.half() for key, value in state["model"].items()}},
        loaded=lambda state: model.load_state_dict(state["model"]),
    )


@habit
def read_and_not_loaded():
    model = small(8, 16, 4)
    loop(model, torch.optim.SGD(model.parameters(), lr=0.1), loaded=lambda _: None)


@habit
def parts_of_two_checkpoints():
    model = small(8, 16, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def keep_the_first():
        if not (OUTPUT / "first.pt").exists():
            save(model.state_dict(), "first.pt")

    def load(state):
        model.load_state_dict(torch.load(OUTPUT / "first.pt"))
        optimizer.load_state_dict(state["optimizer"])

    loop(model, optimizer, before_save=keep_the_first, loaded=load)


@habit
def frozen_weights_that_move():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(8, 4).requires_grad_(False)
            self.a, self.b = nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.zeros(4, 2))

        def forward(self, x):
            return self.base(x) + x @ self.a.T @ self.b.T

    model = Adapted()
    optimizer = torch.optim.AdamW([model.a, model.b], lr=0.05)

    def merge_and_unmerge():
        model.base.weight.data += model.b.data @ model.a.data
        model.base.weight.data -= model.b.data @ model.a.data

    def load(state):
        model.load_state_dict(state["model"], strict=False)
        optimizer.load_state_dict(state["optimizer"])

    def adapter(state):
        return {**state, "model": {"a": model.a.detach(), "b": model.b.detach()}}

    loop(model, optimizer, before_save=merge_and_unmerge, saved=adapter, loaded=load)


@habit
def an_optimizer_of_another_model():
    class Pair(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x)

    model = small(8, 16, 4)
    pair = Pair(model)
    if IS_RESUMED:
        model = small(8, 16, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def load(state):
        model.load_state_dict({key.removeprefix("model."): value for key, value in state["model"].items()})
        optimizer.load_state_dict(state["optimizer"])

    loop(pair, optimizer, loaded=load)


def adversaries(turn):
    generator, critic = small(4, 8, 2), small(2, 8, 1)
    optimizers = [torch.optim.RMSprop(model.parameters(), 1e-3) for model in (generator, critic)]
    step = 0
    if IS_RESUMED:
        state = torch.load(OUTPUT / "last.pt")
        for one, value in zip((generator, critic, *optimizers), state["parts"], strict=True):
            one.load_state_dict(value)
        step = state["step"]

    def train_critic(number):
        with torch.no_grad():
            fake = generator(batch(number, 4))
        optimizers[1].zero_grad()
        (critic(fake).mean() - critic(batch(number + 500, 2)).mean()).backward()
        optimizers[1].step()
        clamp(critic)

    def train_generator(number):
        optimizers[0].zero_grad()
        (-critic(generator(batch(number, 4))).mean()).backward()
        optimizers[0].step()

    while step < 9:
        turn(step, train_critic, train_generator)
        step += 1
        if step % 3 == 0:
            save({"parts": [one.state_dict() for one in (generator, critic, *optimizers)], "step": step})
    save({"generator": generator.state_dict(), "critic": critic.state_dict()}, "final.pt")


@habit
def three_updates_of_the_critic():
    def turn(step, critic, generator):
        for number in range(3):
            critic(step * 10 + number)
        generator(step)

    adversaries(turn)


@habit
def networks_that_take_turns():
    adversaries(lambda step, critic, generator: (critic if step % 2 == 0 else generator)(step))


@habit
def an_optimizer_for_each_parameter():
    model = small(8, 16, 4)
    optimizers = [torch.optim.Adam([parameter], lr=0.01) for parameter in model.parameters()]

    def update(optimizer):
        optimizer.step()
        optimizer.zero_grad()

    for parameter, optimizer in zip(model.parameters(), optimizers, strict=True):
        parameter.register_post_accumulate_grad_hook(lambda _, one=optimizer: update(one))
    step = 0
    if IS_RESUMED:
        state = torch.load(OUTPUT / "last.pt")
        model.load_state_dict(state["model"])
        step = state["step"]
        for optimizer, value in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(value)
    while step < 12:
        loss_of(model, step).backward()
        step += 1
        if step % 3 == 0:
            state = {"model": model.state_dict(), "step": step}
            save({**state, "optimizers": [optimizer.state_dict() for optimizer in optimizers]})
    save(model.state_dict(), "final.pt")


@habit
def a_checkpoint_within_a_window():
    model = torch.nn.Sequential(small(8, 16, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    done = 0
    if IS_RESUMED:
        state = torch.load(OUTPUT / "last.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        done = state["done"]
        for parameter, grad in zip(model.parameters(), state["grads"], strict=True):
            parameter.grad = grad
    while done < 40:
        (loss_of(model, done) * torch.rand(1)).mean().backward()
        done += 1
        if done % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
        if done % 6 == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": done}
            save({**state, "rng": torch.get_rng_state(), "grads": [p.grad for p in model.parameters()]})
    save(model.state_dict(), "final.pt")


@habit
def gradients_of_single_samples():
    from torch.func import functional_call, grad, vmap

    model = small(8, 16, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    step = 0
    if IS_RESUMED:
        state = torch.load(OUTPUT / "last.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]

    def loss(parameters, x):
        return (functional_call(model, parameters, (x[None],)) - x[:4]).square().mean()

    each = vmap(grad(loss), in_dims=(None, 0))
    while step < 12:
        found = each({name: value.detach() for name, value in model.named_parameters()}, batch(step))
        for name, parameter in model.named_parameters():
            parameter.grad = found[name].clamp(-1, 1).mean(0)
        optimizer.step()
        step += 1
        if step % 3 == 0:
            save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
    save(model.state_dict(), "final.pt")


@habit
def a_step_that_only_makes_state():
    """As torch.distributed.checkpoint's `set_state_dict` does."""
    model = small(8, 16, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    if IS_RESUMED:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
    optimizer.param_groups[0]["lr"] = 0.01
    loop(model, optimizer)


@habit
def phases_with_an_optimizer_each():
    model, step, saved = small(8, 16, 4), 0, None
    if IS_RESUMED:
        saved = torch.load(OUTPUT / "last.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        step = saved["step"]
    for end, rate in ((5, 0.01), (12, 0.001)):
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        if saved is not None and saved["end"] == end:
            optimizer.load_state_dict(saved["optimizer"])
        while step < end:
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
            step += 1
            if step % 3 == 0:
                save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "end": end})
    save(model.state_dict(), "final.pt")


@habit
def a_model_for_each_fold():
    """A model and an optimizer of its own for each fold; another one takes part in the first alone."""
    judge, first, step, saved = small(8, 4), 0, 0, None
    if IS_RESUMED:
        saved = torch.load(OUTPUT / "last.pt", weights_only=True)
        first, step = saved["fold"], saved["step"]
    for fold in range(first, 3):
        torch.manual_seed(fold)
        model = small(8, 16, 4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        if saved is not None:
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            saved = None
        while step < 4 * fold + 4:
            optimizer.zero_grad()
            (loss_of(model, step) + (judge(batch(step)).sum() * 0 if fold == 0 else 0)).backward()
            optimizer.step()
            step += 1
            if step % 3 == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "fold": fold}
                save(state)
    save(model.state_dict(), "final.pt")


@habit
def updates_of_copies():
    """Reptile: a few steps of a copy, whose distance is the gradient of the original."""
    model, step = small(8, 16, 4), 0
    outer = torch.optim.Adam(model.parameters(), lr=0.01)
    if IS_RESUMED:
        saved = torch.load(OUTPUT / "last.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        outer.load_state_dict(saved["optimizer"])
        step = saved["step"]
    while step < 5:
        fast = copy.deepcopy(model)
        inner = torch.optim.SGD(fast.parameters(), lr=0.1, momentum=0.9)
        for number in range(3):
            inner.zero_grad()
            loss_of(fast, 10 * step + number).backward()
            inner.step()
        for original, moved in zip(model.parameters(), fast.parameters(), strict=True):
            original.grad = original.data - moved.data
        outer.step()
        step += 1
        save({"model": model.state_dict(), "optimizer": outer.state_dict(), "step": step})
    save(model.state_dict(), "final.pt")


if __name__ == "__main__":
    torch.manual_seed(0)
    HABITS[sys.argv[1]]()
