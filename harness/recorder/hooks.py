"""What is wrapped: torch, once it is complete, and safetensors, before the importing script gets hold of them."""

import atexit
import functools
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from _harness_recorder.imports import Watcher
from _harness_recorder.steps import TrainingSession


def install(session: TrainingSession) -> None:
    """Wait for torch and safetensors in this process, and for its end."""

    def safely(wrap: Callable[[TrainingSession, ModuleType], None]) -> Callable[[ModuleType], None]:
        def callback(module: ModuleType) -> None:
            try:
                wrap(session, module)
            except Exception as error:
                session.fail(error)

        return callback

    sys.meta_path.insert(
        0,
        Watcher(
            {
                "torch": safely(wrap_torch),
                "safetensors": safely(wrap_safetensors),
                "safetensors.torch": safely(wrap_safetensors_torch),
                "numpy.random": safely(wrap_numpy_random),
                "multiprocessing.process": safely(wrap_processes),
                "shutil": safely(wrap_shutil),
            }
        ),
    )
    if "shutil" in sys.modules:
        wrap_shutil(session, sys.modules["shutil"])
    for name in ("rename", "replace", "link"):
        setattr(os, name, _wrap_move(session, getattr(os, name)))
    os.register_at_fork(after_in_child=session.forked)
    os._exit = _wrap_exit(session, os._exit)  # type: ignore[assignment]  # how a forked child ends
    atexit.register(session.ended)


def _wrap_exit(session: TrainingSession, original: Callable[[int], NoReturn]) -> Callable[[int], NoReturn]:
    @functools.wraps(original)
    def _exit(status: int) -> NoReturn:
        session.ended(status)
        original(status)

    return _exit


def wrap_processes(session: TrainingSession, module: Any) -> None:
    """See how a child of multiprocessing ends: it turns its exceptions into an exit code."""
    original = module.BaseProcess._bootstrap

    @functools.wraps(original)
    def _bootstrap(self: Any, *args: Any, **kwargs: Any) -> int:
        status: int = original(self, *args, **kwargs)
        session.ended(status)
        return status

    module.BaseProcess._bootstrap = _bootstrap


def wrap_torch(session: TrainingSession, torch: Any) -> None:
    """Wrap what a training loop calls. `torch` is complete: its own imports are over."""
    session.torch_imported(torch)
    compiling = torch.compiler.is_compiling
    torch.nn.Module.__call__ = _wrap_call(session, torch.nn.Module.__call__, compiling)
    torch.autograd.backward = _wrap_backward(session, torch.autograd.backward, compiling)
    _hide_from_dynamo(torch, torch.nn.Module.__call__, torch.autograd.backward)
    registration = torch.nn.modules.module
    registration.register_module_parameter_registration_hook(lambda module, *_: session.module_built(module, None))
    registration.register_module_module_registration_hook(lambda module, _, child: session.module_built(module, child))
    _wrap_optimizers(session, torch)
    _wrap_states(session, torch)
    _wrap_functional(session, torch, compiling)
    loaders = torch.utils.data.dataloader._SingleProcessDataLoaderIter
    loaders.__init__ = _wrap_loader(session, loaders.__init__)
    for name in ("clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_"):
        if hasattr(torch.nn.utils, name):
            wrapped = _before_clip(session, getattr(torch.nn.utils, name))
            setattr(torch.nn.utils, name, wrapped)
            if hasattr(torch.nn.utils.clip_grad, name):
                setattr(torch.nn.utils.clip_grad, name, wrapped)
    torch.save = torch.serialization.save = _wrap_save(session, torch.save, 1, "f", None)
    torch.load = torch.serialization.load = _wrap_restore(session, torch.load, "torch.load")
    for name, kind in (("manual_seed", "seed"), ("seed", "seed"), ("set_rng_state", "set_rng")):
        _wrap_generator(session, torch, name, kind, compiling)
        setattr(torch.random, name, getattr(torch, name))
    for name, kind in (("manual_seed_all", "seed"), ("set_rng_state", "set_rng"), ("set_rng_state_all", "set_rng")):
        _wrap_generator(session, torch.cuda, name, kind, compiling)
    if "random" in sys.modules:
        _wrap_generator(session, sys.modules["random"], "seed", "seed", compiling)
        _wrap_generator(session, sys.modules["random"], "setstate", "set_rng", compiling)


def _hide_from_dynamo(torch: ModuleType, *functions: Callable) -> None:
    """Keep torch.compile from compiling a wrapper as a function in its own right, as it keeps from torch's own code.

    What a wrapper calls is compiled as ever, and where torch.compile inlines one it sees only the call to the original.
    """
    try:
        frames = torch._C._dynamo.eval_frame
        strategy = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.DEFAULT)
        for function in functions:
            frames.set_code_exec_strategy(function.__code__, strategy)
    except AttributeError:  # an older torch: there torch.compile may compile a wrapper in vain
        pass


def wrap_numpy_random(session: TrainingSession, module: Any) -> None:
    """Note the state of numpy's global generator at birth, and its seeding."""
    if hasattr(session, "torch"):
        session.collect.baseline("numpy", session.streams.numpy_state())
    _wrap_generator(session, module, "seed", "seed", bool)
    _wrap_generator(session, module, "set_state", "set_rng", bool)


def wrap_safetensors(session: TrainingSession, module: Any) -> None:
    """Note which safetensors files are opened."""
    module.safe_open = _wrap_restore(session, module.safe_open, "safetensors.safe_open")


def wrap_safetensors_torch(session: TrainingSession, module: Any) -> None:
    """Wrap the write and the read of whole safetensors files."""
    module.save_file = _wrap_save(session, module.save_file, 1, "filename", module.save)
    module.load_file = _wrap_restore(session, module.load_file, "safetensors.torch.load_file")


def wrap_shutil(session: TrainingSession, module: Any) -> None:
    """Note copies of files; what shutil moves is renamed or copied."""
    module.copyfile = _wrap_move(session, module.copyfile)


def _wrap_move(session: TrainingSession, original: Callable) -> Callable:
    @functools.wraps(original)
    def move(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if session.is_active and not session.is_busy:
            named = {**dict(zip(("src", "dst"), args, strict=False)), **kwargs}
            session.moved(named["src"], named["dst"])
        return result

    return move


def _wrap_call(session: TrainingSession, original: Callable, compiling: Callable[[], bool]) -> Callable:
    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        # While torch.compile traces, the first condition is a constant: nothing of this ends up in a graph
        if compiling() or session.depth or session.is_busy or not session.is_active:
            return original(self, *args, **kwargs)
        session.depth = 1
        try:
            is_evaluation = session.before_forward(self, args, kwargs)
            result = original(self, *args, **kwargs)
        finally:
            session.depth = 0
        if is_evaluation:
            session.after_evaluation(result)
        return result

    return __call__


def _wrap_backward(session: TrainingSession, original: Callable, compiling: Callable[[], bool]) -> Callable:
    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling() or session.is_in_backward or not session.is_active:
            return original(tensors, *args, **kwargs)
        session.before_backward(tensors)
        session.is_in_backward = True
        try:
            result = original(tensors, *args, **kwargs)
        finally:
            session.is_in_backward = False
        session.after_backward()
        return result

    return backward


def _wrap_functional(session: TrainingSession, torch: Any, compiling: Callable[[], bool]) -> None:
    """See trainings that call a module with weights from elsewhere, or that differentiate functions.

    A module is looked at before other tensors are in its place; a function afterwards, for it may call a module.
    """

    def wrapped(original: Callable, with_module: bool) -> Callable:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if with_module and args and not compiling():
                session.before_functional(args[0])
            result = original(*args, **kwargs)
            if not with_module and not compiling():
                session.before_functional(None)
            return result

        return call

    torch.func.functional_call = wrapped(torch.func.functional_call, with_module=True)
    torch.autograd.grad = wrapped(torch.autograd.grad, with_module=False)
    transforms = torch._functorch.eager_transforms
    if hasattr(transforms, "grad_and_value_impl"):
        transforms.grad_and_value_impl = wrapped(transforms.grad_and_value_impl, with_module=False)


def _wrap_optimizers(session: TrainingSession, torch: Any) -> None:
    """Use torch's global hooks for the updates, and see optimizers, schedulers and scalers at work."""
    from torch.optim import lr_scheduler, optimizer

    def before(which: Any, args: tuple, kwargs: dict) -> None:
        if not torch.compiler.is_compiling():
            session.before_optimizer(which, args, kwargs)

    def after(which: Any, _args: tuple, _kwargs: dict) -> None:
        if not torch.compiler.is_compiling():
            session.after_optimizer(which)

    _hide_from_dynamo(torch, before, after)
    optimizer.register_optimizer_step_pre_hook(before)
    optimizer.register_optimizer_step_post_hook(after)

    def made(which: Any) -> None:
        session.collect.add_optimizer(which)
        session.optimizer_made(which)

    optimizer.Optimizer.__init__ = _after_init(optimizer.Optimizer.__init__, made, session)
    for kind in (lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau):  # the second never calls the first's
        kind.__init__ = _after_init(kind.__init__, session.collect.add_scheduler, session)
    scaler_step = torch.amp.GradScaler.step

    @functools.wraps(scaler_step)
    def step(self: Any, which: Any, *args: Any, **kwargs: Any) -> Any:
        session.num_updates = 0
        result = scaler_step(self, which, *args, **kwargs)
        if not session.num_updates:
            session.scaler_skipped(getattr(which, "optimizer", which))
        return result

    torch.amp.GradScaler.step = step


def _wrap_loader(session: TrainingSession, original: Callable) -> Callable:
    """Note the seed that a loader without workers draws for them: it moves a generator, and no number hangs on it."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        before = session.generator_state()
        original(self, *args, **kwargs)
        if before is not None and getattr(self, "_shared_seed", None) is None:
            session.loader_made(before)

    return __init__


def _after_init(original: Callable, made: Callable[[Any], None], session: TrainingSession) -> Callable:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        try:
            made(self)
        except Exception as error:
            session.fail(error)

    return __init__


def _wrap_states(session: TrainingSession, torch: Any) -> None:
    """Note every `load_state_dict` of modules, optimizers and schedulers, failed ones too."""
    schedulers = [
        item
        for item in vars(torch.optim.lr_scheduler).values()
        if isinstance(item, type)
        and issubclass(item, torch.optim.lr_scheduler.LRScheduler)
        and "load_state_dict" in vars(item)
    ]
    for what, classes in (
        ("module", [torch.nn.Module]),
        ("optimizer", [torch.optim.Optimizer]),
        ("scheduler", schedulers),
    ):
        for owner in classes:
            owner.load_state_dict = _wrap_load_state(session, vars(owner)["load_state_dict"], what)


def _wrap_load_state(session: TrainingSession, original: Callable, what: str) -> Callable:
    @functools.wraps(original)
    def load_state_dict(self: Any, *args: Any, **kwargs: Any) -> Any:
        if session.is_loading:  # a subclass that calls its parent
            return original(self, *args, **kwargs)
        is_ok, result, session.is_loading = False, None, True
        try:
            result = original(self, *args, **kwargs)
            is_ok = True
            return result
        finally:
            session.is_loading = False
            session.state_loaded(what, self, is_ok, result)

    return load_state_dict


def _before_clip(session: TrainingSession, original: Callable) -> Callable:
    @functools.wraps(original)
    def clip(parameters: Any, limit: Any = None, *args: Any, **kwargs: Any) -> Any:
        given = limit if limit is not None else kwargs.get("max_norm", kwargs.get("clip_value"))
        session.before_clip(original.__name__, given)
        return original(parameters, *(() if limit is None else (limit,)), *args, **kwargs)

    return clip


def _wrap_save(
    session: TrainingSession, original: Callable, position: int, keyword: str, serialize: Callable | None
) -> Callable:
    """Wrap a function that writes its argument number `position`, called `keyword`."""

    @functools.wraps(original)
    def save(*args: Any, **kwargs: Any) -> Any:
        destination = kwargs.get(keyword, args[position] if len(args) > position else None)
        content = None
        if serialize is not None:
            first = {key: value for key, value in kwargs.items() if key != keyword}
            rest = (*args[:position], *args[position + 1 :])
            content = functools.partial(serialize, *rest, **first)
        return session.write(destination, functools.partial(original, *args, **kwargs), content)

    return save


def _wrap_restore(session: TrainingSession, original: Callable, name: str) -> Callable:
    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        if session.is_restoring or not session.is_active:
            return original(*args, **kwargs)
        source = args[0] if args else kwargs.get("f", kwargs.get("filename"))
        if not isinstance(source, str | bytes | os.PathLike):
            source = getattr(source, "name", None)
        is_ok, session.is_restoring = False, True
        try:
            result = original(*args, **kwargs)
            is_ok = True
            return result
        finally:
            session.is_restoring = False
            session.restored(name, source, is_ok)

    return load


def _wrap_generator(
    session: TrainingSession, module: ModuleType, name: str, kind: str, compiling: Callable[[], bool]
) -> None:
    """Note calls that seed or set a global generator; sets of a training under way are mostly recomputation's."""
    original = getattr(module, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        is_noted = not compiling() and (kind == "seed" or not session.is_started)
        before = session.generator_states(module.__name__) if is_noted and kind == "seed" else None
        result = original(*args, **kwargs)
        if is_noted:
            value = next(iter((*args, *kwargs.values())), None) if kind == "seed" else None
            plain = value if isinstance(value, int | float | str) else None
            session.generator_set(kind, f"{module.__name__}.{name}", plain, before)
        return result

    setattr(module, name, wrapper)
