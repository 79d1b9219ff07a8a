"""The state machine of a recording: forwards, backwards and optimizer calls in, step records out.

A step opens at the first training forward after the previous one and closes when every optimizer has stepped. With
several optimizers a step is a *round* of distinct ones: it is over when all have stepped, when one of them steps again,
or when a checkpoint is written. Nothing of it depends on what was before, so a resumed process counts the same.
"""

import time
from typing import Any

from _harness_recorder import faults as fault_points
from _harness_recorder import ledger, settings
from _harness_recorder.session import Session, guarded

MAX_EVALS_BEFORE_TRAINING = 10_000  # a process that only evaluates never writes them


class OpenStep:
    """What a step has gathered so far. Lists carry the micro-batch first, so that a step can be split."""

    def __init__(self) -> None:
        self.rng: Any = None
        self.before: dict[str, Any] = {}  # digests of what moved since the step before
        self.rng_within: list[tuple[int, Any]] = []  # after a checkpoint in the middle: a resume may begin there
        self.data: list[tuple[int, Any]] = []
        self.losses: list[tuple[int, Any]] = []
        self.grads: list[tuple[int, Any]] = []
        self.num_micro_batches = 0
        self.num_forwards = 0
        self.has_grads = False  # taken since the last backward
        self.is_skipped = True

    def split(self, at: int) -> "OpenStep":
        """Move what came after micro-batch `at` to a new step and return it."""
        later = OpenStep()
        for field in ("rng_within", "data", "losses", "grads"):
            entries = getattr(self, field)
            setattr(later, field, [(micro - at, value) for micro, value in entries if micro > at])
            setattr(self, field, [(micro, value) for micro, value in entries if micro <= at])
        later.num_micro_batches, self.num_micro_batches = self.num_micro_batches - at, at
        later.has_grads = self.has_grads
        return later


class OpenRound:
    """A round that may be over already: what the next step begins with if it is."""

    def __init__(self, num_micro_batches: int, after: dict) -> None:
        self.num_micro_batches, self.after = num_micro_batches, after
        self.rng: Any = None
        self.before: dict[str, Any] = {}
        self.evals: list = []


class TrainingSession(Session):
    """The recording of one process's training."""

    def __init__(self, run: ledger.RunFolder, faults: list[dict]) -> None:
        super().__init__(run, faults)
        self.depth = 0  # inside the outermost module's call
        self.is_in_backward = False
        self.settings = settings.Settings(run)
        self.step: OpenStep | None = None
        self.round: OpenRound | None = None
        self.stepped: list = []
        self.missing: set[int] = set()  # ids of the optimizers that the round waits for
        self.nested_steps = 0
        self.is_preparing = False  # an optimizer's step that only makes its state
        self.num_updates = 0  # since a gradient scaler was asked to step
        self.has_closure = False
        self.is_saved_within = False  # in the middle of the step
        self.is_updated = False  # in the middle of a backward
        self.is_checked = False  # whether the optimizers have the parameters that get gradients
        self.is_switched = False
        self.operators: Any = None  # sees every operator of some steps, where that was asked for

    # --- forwards and backwards -------------------------------------------------------------------------------------

    @guarded
    def before_forward(self, module: Any, args: tuple, kwargs: dict) -> bool:
        """Take note of the outermost module's call: a training forward if gradients are enabled, else evaluation.

        Returns:
            Whether it is an evaluation whose result `after_evaluation` wants to see.
        """
        if self.is_in_backward or self.torch._C._get_tracing_state() is not None:
            return False
        if self.torch._C._functorch.peek_interpreter_stack() is not None:
            if self.torch.is_grad_enabled():
                with self._outside_transforms():
                    self._training_forward(module, args, kwargs)
            return False
        if not self.torch.is_grad_enabled():
            if isinstance(module, self.torch.fx.GraphModule):
                return False  # what torch.compile made of a training forward runs without gradients, too
            if not self.is_started and (len(self.evals) >= MAX_EVALS_BEFORE_TRAINING or self._is_loader_worker()):
                return False
            self.evals.append((self.digest.launch(self.collect.inputs(args, kwargs)), None))
            return True
        self._training_forward(module, args, kwargs)
        return False

    def _training_forward(self, module: Any, args: tuple, kwargs: dict) -> None:
        if not self.has_closure:
            self.nested_steps = 0  # an update that raised an error never said that it was over
        if not self._open(module):
            return
        step = self.step
        micro = step.num_micro_batches + 1
        step.num_forwards += 1
        if self.is_saved and micro > 1 and self.round is None:
            step.rng_within.append((micro - 1, self.digest.launch(self.collect.rng())))
            self.is_saved = False
            self.is_saved_within = True
        again = "" if step.num_forwards == 1 else f"+{step.num_forwards}."
        items = self.collect.inputs(args, kwargs)
        items = {f"{again}{name}": value for name, value in items.items()}
        step.data.append((micro, self.digest.launch(items)))
        if self.operators is not None:
            self.operators.name("data", {f"{micro}.{name}": value for name, value in items.items()})

    @guarded
    def before_functional(self, module: Any) -> None:
        """Open a step before `torch.func` puts other tensors in the place of a module's weights, or differentiates.

        Without a module that is the first sign of a training only where updates are declared: an optimizer of rate 0.
        """
        is_declared = any(not any(self.collect.rates_of(one)) for _, one in self.collect.live_optimizers())
        if self.depth or not self.torch.is_grad_enabled() or (module is None and not is_declared):
            return
        with self._outside_transforms():
            self._open(module)

    def _outside_transforms(self) -> Any:
        from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

        return temporarily_clear_interpreter_stack()

    @guarded
    def after_evaluation(self, result: Any) -> None:
        """Take the loss that an evaluation forward returned, if it returned one."""
        loss = result
        if isinstance(result, dict) or hasattr(result, "loss"):
            loss = result["loss"] if isinstance(result, dict) and "loss" in result else getattr(result, "loss", None)
        elif isinstance(result, list | tuple) and result:
            loss = result[0]
        if isinstance(loss, self.torch.Tensor) and loss.dim() == 0 and loss.is_floating_point():
            self.evals[-1] = (self.evals[-1][0], loss.detach().clone())

    @guarded
    def before_backward(self, tensors: Any) -> None:
        """Keep the value handed to backward; it is read only when the step is over."""
        if not self._open(None):
            return
        self.records.write_start()
        for tensor in tensors if isinstance(tensors, list | tuple) else [tensors]:
            if isinstance(tensor, self.torch.Tensor) and self.digest.is_supported(tensor):
                with self.torch.no_grad():
                    self.step.losses.append((self.step.num_micro_batches + 1, tensor.detach().clone()))

    @guarded
    def after_backward(self) -> None:
        """Count a micro-batch."""
        if self.step is None:
            return
        self.step.num_micro_batches += 1
        self.step.num_forwards = 0
        self.step.has_grads = False
        micro = self.step.num_micro_batches
        points = [(self.completed + 1, micro)]
        if self.round is not None:
            points.append((self.completed + 2, micro - self.round.num_micro_batches))
        for step, number in points:
            for fault in self._faults("micro_batch", step):
                if fault["micro_batch"] == number:
                    fault_points.die(fault, self.run.event)
            self.signals += [one for one in self._faults("signal", step) if one.get("micro_batch") == number]
        if self.is_updated:
            self._update_over()

    def _open(self, module: Any) -> bool:
        """Make sure that a step is open, and that the process has started and knows the module."""
        if not self.is_started:
            if self._is_loader_worker():
                self.is_active = False
                return False
            self._start(module)
        elif self.step is None:
            self.collect.release()
        if module is not None:
            if self.collect.is_known(module):
                self.collect.called(module)
            else:
                self.collect.add_first(module)
        if self.step is None:
            self._flush_evals()
            for fault in self._faults("before_step", self.completed + 1):
                self.records.write_start()
                fault_points.die(fault, self.run.event)
            self._prepare(self.completed + 1)
            self.step = OpenStep()
            self._begin(self.step)
        elif self.round is not None and self.round.rng is None:
            self._prepare(self.completed + 2)
            self._begin(self.round)
            self.round.evals, self.evals = self.evals, []
        return True

    def _prepare(self, step: int) -> None:
        """Do what a diagnosis asks for at a step's start. A step that follows an open round may be part of it."""
        asked = [fault["kind"] for fault in self.faults if fault["kind"] in fault_points.OF_DIAGNOSES]
        if not asked:
            return
        from _harness_recorder import operators, trials

        for fault in self.faults:
            verb, _, what = fault["kind"].partition("_")
            if verb == "operators" and fault["step"] <= step and self.operators is None:
                self.operators = operators.Operators(self, step)
                self.operators.start()
            elif verb == "keep" and fault["step"] == step:
                trials.attempt(self, "state", trials.keep)
            elif verb == "give" and fault["step"] == step and self.round is None:
                trials.attempt(self, what, trials.give)
            elif verb == "set" and not self.is_switched:
                trials.attempt(self, what, trials.switch)
        self.is_switched = True

    def _is_loader_worker(self) -> bool:
        return self.torch.utils.data.get_worker_info() is not None

    def _not_started_yet(self) -> None:
        if self.is_started and not self.records.is_start_written:
            self.records.drop_start()
            self.is_started, self.step, self.completed = False, None, 0
            self.collect.modules = []
            self.collect.refresh()

    def _begin(self, step: OpenStep | OpenRound) -> None:
        """Take what a step begins with: the generators, and what moved since the step before."""
        step.rng = self.digest.launch(self.collect.rng())
        if isinstance(step, OpenStep):
            modes = settings.evaluating(self.collect.named_modules)
            self.settings.note(self.completed + 1, evaluating=modes, switches=settings.switches(self.torch))
            if self.settings.attributes is None or self.is_written:
                self.is_written = False
                self.settings.note_attributes(self.completed + 1, self._attributes())
        step.before = self.records.before_forward(self.collect, self.is_saved or self.is_saved_within)
        self.is_saved = self.is_saved_within = False

    def _attributes(self) -> dict[str, Any]:
        """Return what modules hold beside parameters and buffers: numbers (floats as hex), and digests of tensors."""
        found = self.collect.attributes()
        tensors = {name: value for name, value in found.items() if isinstance(value, self.torch.Tensor)}
        digests = self.digest.launch(tensors).result()
        return found | {name: entry.digest for name, entry in digests.items()}

    # --- optimizers -------------------------------------------------------------------------------------------------

    @guarded
    def before_optimizer(self, optimizer: Any, args: tuple, kwargs: dict) -> None:
        """Take the gradients just before they are applied, unless something will change or has changed them."""
        self.num_updates += 1
        self.nested_steps += 1
        if self.nested_steps > 1:
            self.collect.add_inner(optimizer)
            return
        self.collect.add_optimizer(optimizer)
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        self.has_closure = callable(closure)
        self.is_preparing = not self.is_started and not self.has_closure and not _has_gradient(optimizer)
        if self.is_preparing:
            return
        self._close_round_of(optimizer)
        if not self.has_closure and self._open(None):
            self.records.write_start()
            self._take_grads(optimizer, getattr(optimizer, "grad_scale", None))
            if not self.is_checked and (names := self.collect.without_optimizer(optimizer)):
                self.is_checked = True
                self.run.event("without_optimizer", names=names[:100], step=self.completed + 1)

    @guarded
    def after_optimizer(self, optimizer: Any) -> None:
        """Close the step, or the optimizer's part of it."""
        self.nested_steps = max(0, self.nested_steps - 1)
        if self.nested_steps or self.is_preparing or not self._open(None):
            return
        if self.has_closure:
            self._take_grads(optimizer, None)
            self.has_closure = False
        found_inf = getattr(optimizer, "found_inf", None)
        self._optimizer_done(optimizer, is_skipped=found_inf is not None and float(found_inf) != 0.0)

    @guarded
    def before_clip(self, function: str, limit: Any) -> None:
        """Take the gradients before they are clipped."""
        if self.nested_steps == 0 or self.has_closure:
            self._take_grads(None, None)
            self.settings.clipped(function, limit)

    @guarded
    def scaler_skipped(self, optimizer: Any) -> None:
        """Close a step whose update a gradient scaler left out; its gradients are unscaled by now."""
        self._close_round_of(optimizer)
        if self._open(None):
            self._take_grads(optimizer, None)
            self._optimizer_done(optimizer, is_skipped=True)

    def _take_grads(self, optimizer: Any, scale: Any) -> None:
        if self.step is None or self.step.has_grads:
            return
        self.step.has_grads = optimizer is None or len(self.collect.live_optimizers()) < 2
        only = None if self.step.has_grads else optimizer
        self.step.grads.append((self.step.num_micro_batches, self.digest.launch(self.collect.grads(only, scale))))

    def _optimizer_done(self, optimizer: Any, is_skipped: bool) -> None:
        self.collect.hold(optimizer)
        if not self.stepped:
            self.missing = {id(other) for other in self.collect.awaited()}
        self.stepped.append(optimizer)
        self.missing.discard(id(optimizer))
        self.step.is_skipped = self.step.is_skipped and is_skipped
        for fault in self._faults("flip_param", self.completed + 1):
            params = self.digest.launch(self.collect.params()).result()
            known = self.records.known["param"].result()
            moved = {name for name in params if params[name] != known.get(name)}
            self._flip(fault, {}, moved, within_step=bool(self.missing))
            self.faults.remove(fault)
        if self.is_in_backward:  # one optimizer for each parameter: the update is over when the backward is
            self.is_updated = True
        else:
            self._update_over()

    def _update_over(self) -> None:
        """Close the round, or let it wait for the optimizers that have not stepped."""
        self.is_updated = False
        if self.round is not None:  # it was not over: what was taken for the next step belongs to this one
            self.evals = self.round.evals + self.evals
            self.is_saved = self.is_saved or bool(self.round.before)
            self.round = None
            if self.operators is not None and self.operators.first_step == self.completed + 2:
                self.operators.stop()
                self.operators = None
        after = self.records.after_update(self.collect)
        if self.missing:
            self.round = OpenRound(self.step.num_micro_batches, after)
        else:
            self._close(after)

    def _close_round_of(self, optimizer: Any) -> None:
        """Close the open round if this optimizer has stepped in it."""
        if any(optimizer is known for known in self.stepped):
            self._close_round()

    def _close_round(self) -> None:
        """Close a round that waits for further optimizers; what came after its last update is the next step's."""
        if self.round is None:
            return
        over = self.round
        later = self.step.split(over.num_micro_batches)
        between, self.evals = (over.evals, self.evals) if over.rng is not None else ([], self.evals)
        self._close(over.after)
        if over.rng is None:
            return
        self.evals, later_evals = between, self.evals
        self._flush_evals()
        self.evals = later_evals
        for fault in self._faults("before_step", self.completed + 1):
            fault_points.die(fault, self.run.event)
        self.step, later.rng, later.before = later, over.rng, over.before

    def _close(self, after: dict) -> None:
        self.completed += 1
        self.is_checked = True
        self._report_not_seen()
        step, self.step, self.round, self.stepped = self.step, None, None, []
        self.settings.step_over(self.completed)
        self.records.step(self.completed, step, after, self._lap())
        if self.operators is not None:
            self.run.write_operators(self.operators.take(self.completed))
        for fault in (*self._faults("after_step", self.completed), *self._faults("stop", self.completed)):
            fault_points.die(fault, self.run.event)
        self.signals += [one for one in self._faults("signal", self.completed) if one.get("micro_batch") is None]
        self.pace.rest()

    def _lap(self) -> tuple[float, float]:
        """Return the seconds since the last record, and how many of them were the recorder's own."""
        now = time.perf_counter()
        since, own = now - self.last_record_at, self.own_seconds + now - self.entered_at
        self.last_record_at, self.own_seconds, self.entered_at = now, 0.0, now
        return since, own


def _has_gradient(optimizer: Any) -> bool:
    """Say whether an update would have anything to apply."""
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    grads = [grad._values() if grad.is_sparse else getattr(grad, "_local_tensor", grad) for grad in grads]
    return any(bool((grad != 0).any()) for grad in grads)
