"""What a program draws from the global generators and where it seeds them, in the order in which it runs."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from harness.review.code.draws import Draw, Stream, draw_of
from harness.review.code.seeders import is_trainer_name, mentioned_seeds, seeds_of
from harness.review.source.execution import Site
from harness.review.source.module import Module, Scope
from harness.review.source.nodes import last_name, words
from harness.review.source.program import Entry, Program

LATER = 1 << 30  # the position of a call whose place in the order cannot be told
_ASIDE = re.compile(r"(^|/)(test_[^/]*|[^/]*_test|conftest|bench[^/]*|[^/]*benchmark[^/]*|profil[^/]*|probe)\.py$")
_DYNAMIC = words("builtins.exec builtins.eval builtins.__import__ importlib.import_module runpy.run_path")
_KNOWN = words(  # none of these seeds anything but by a function that is named so, or by a trainer
    "PIL absl accelerate aim albumentations bitsandbytes catboost clearml click comet_ml cv2 dataclasses_json datasets "
    "deepspeed diffusers docstring_parser dotenv einops evaluate fire flash_attn fsspec h5py huggingface_hub hydra "
    "imageio joblib jsonargparse jsonlines kagglehub lightgbm lightning lightning_utilities litdata loguru matplotlib "
    "mlflow nltk numpy omegaconf optimum orjson packaging pandas peft plotly psutil pyarrow pydantic pynvml "
    "pytorch_lightning regex requests rich rouge_score sacrebleu safetensors scipy seaborn sentence_transformers "
    "sentencepiece simple_parsing sklearn soundfile tabulate tensorboard tensorboardX tiktoken timm tokenizers toml "
    "torch torchao torchaudio torchdata torchinfo torchmetrics torchvision tqdm transformers trl typer "
    "typing_extensions wandb xformers xgboost yaml zstandard"
)
_ESTIMATORS = ("sklearn.", "xgboost.", "lightgbm.", "catboost.")
_WRITES = words("push_to_hub save_to_disk to_csv to_json to_parquet tofile")
_WRITERS = words("json.dump numpy.save numpy.savez pickle.dump shutil.copy shutil.move")


@dataclass(frozen=True, slots=True)
class Placed:
    """A draw or a seeding call, and how many calls the program makes before it."""

    position: int
    site: Site
    streams: frozenset[Stream]
    draw: Draw | None = None

    @property
    def is_later(self) -> bool:
        """A draw that only what is built here makes, when it is used."""
        return self.draw is not None and self.draw.is_later

    @property
    def is_sure(self) -> bool:
        """It happens whenever the program runs, and is what it seems to be."""
        return self.position < LATER and not self.site.is_conditional and self.site.is_certain


class Seeding:
    """The draws and seeds of one program."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @cached_property
    def is_training(self) -> bool:
        """Whether what the program reaches computes gradients, or builds an optimizer or a trainer."""
        return not is_aside(self.entry.module) and (
            any(_is_training(site) or _is_optimizer(site) for site in self._own)
            or any(_is_training(site) for site in self.entry.later)
        )

    @cached_property
    def is_writing_data(self) -> bool:
        """Whether it writes data sets, without training."""
        return not is_aside(self.entry.module) and any(
            site.method in _WRITES or site.name in _WRITERS for site in self._own
        )

    @cached_property
    def _own(self) -> tuple[Site, ...]:
        """What runs after the imports."""
        return self.entry.execution[self.entry.num_imported :]

    @cached_property
    def draws(self) -> tuple[Placed, ...]:
        """In order; imported files' own statements are left out."""
        executed = enumerate(self._own, self.entry.num_imported)
        return tuple(
            Placed(position, draw.site, frozenset((draw.stream,)), draw)
            for position, site in (*executed, *((LATER, site) for site in self.entry.later))
            if (draw := draw_of(site)) is not None
        )

    @cached_property
    def seeds(self) -> tuple[Placed, ...]:
        """In order."""
        program, found = self.entry.program, []
        start = 0
        for module in self.entry.closure[:0:-1]:  # as `execution` has them
            found += [
                Placed(start + at, site, streams) for at, site, streams in program.remember(_seeds_at_import, module)
            ]
            start += len(program.import_sites(module))
        sites = (*enumerate(self._own, start), *((LATER, site) for site in self.entry.later))
        found += [Placed(position, site, streams) for position, site in sites if (streams := seeds_of(site))]
        return tuple(found)

    def drawn(self, stream: Stream) -> list[Placed]:
        """The draws of one generator, in order."""
        return [one for one in self.draws if stream in one.streams]

    def seeded(self, stream: Stream) -> list[Placed]:
        """The calls that seed it, in order."""
        return [one for one in self.seeds if stream in one.streams]

    def is_certain(self, draw: Draw) -> bool:
        """Whether a draw is one from this generator that the training depends on: weights may be set once more."""
        return draw.is_certain and not (draw.kind == "model" and self._sets_weights)

    @cached_property
    def _sets_weights(self) -> bool:
        """Weights are loaded whatever happens, or drawn from a generator that is given."""
        return any(
            (site.method == "load_state_dict" and not site.is_conditional)
            or (site.name.startswith("torch.nn.init.") and site.argument("generator") is not None)
            for site in self._own
        )

    def may_be_seeded_unseen(self, stream: Stream) -> bool:
        """A seeding function is passed around, or one that was not seen called is named in what the program runs."""
        reached = {one.site.node for one in self.seeds}
        for module in self.entry.closure:
            for node, scope, streams in self.entry.program.remember(_seeds_in, module):
                if stream in streams and node not in reached and (scope is None or self._is_named(scope)):
                    return True
        if any(is_trainer_name(one.site.name) or "::" in one.site.name for one in self.seeds):
            return False
        return any(self.entry.program.remember(_imports_trainer, module) for module in self.entry.closure)

    def has_unread_code(self) -> bool:
        """It imports libraries that nothing is known of, or runs code that is not in the tree."""
        libraries = self.entry.program.libraries(self.entry.closure)
        if any(name not in _KNOWN and name not in sys.stdlib_module_names for name in libraries):
            return True
        return any(site.name in _DYNAMIC for site in self._own)

    @cached_property
    def _reached(self) -> frozenset[Module]:
        """The file, and every other one in which something was seen to run after the imports."""
        return frozenset((self.entry.module, *(site.module for site in (*self._own, *self.entry.later))))

    def _is_named(self, scope: Scope) -> bool:
        """Whether a function that was not seen called is named in what runs, or called by one that is."""
        if scope.kind == "module":
            return True
        names = {scope.name.rpartition(".")[2]}
        for _ in range(2):
            for module in self._reached:
                words = self.entry.program.remember(_words, module)
                defined = self.entry.program.remember(_defined, module)
                if any(words[name] > defined[name] for name in names):
                    return True
            callers = [self.entry.program.remember(_callers, module) for module in self.entry.closure]
            above = {one for found in callers for name in names for one in found.get(name, ())}
            names = {name for name in above if self._num_definitions(name) == 1}  # else it may be any of them
        return False

    def _num_definitions(self, name: str) -> int:
        return sum(self.entry.program.remember(_defined, module)[name] for module in self.entry.closure)


def is_aside(module: Module) -> bool:
    """A test, a benchmark, a probe: none trains what anybody uses."""
    return _ASIDE.search(module.path) is not None


def _is_training(site: Site) -> bool:
    if site.method in ("fit", "partial_fit") and site.name.startswith(_ESTIMATORS):
        return True
    return site.method == "backward" or re.split(r"[.:]", site.name)[-1].endswith("Trainer")


def _is_optimizer(site: Site) -> bool:
    name = site.name
    if not name.startswith("torch.optim.") or "()" in name or "lr_scheduler" in name:
        return False
    return name.rpartition(".")[2][:1].isupper()


def _seeds_in(program: Program, module: Module) -> tuple[tuple[ast.AST, Scope | None, frozenset[Stream]], ...]:
    """A file's seeding calls with the functions that they stand in; None for a seeding function that is only named."""
    if "seed" not in module.text and "determinis" not in module.text:
        return ()
    called = [(site, seeds_of(site)) for site in program.sites(module) if not site.name.endswith("Trainer")]
    return (
        *((site.node, site.scope.function or module.scope, streams) for site, streams in called if streams),
        *((node, None, streams) for node, streams in mentioned_seeds(module, program.resolver)),
    )


def _imports_trainer(_program: Program, module: Module) -> bool:
    """A trainer that seeds is imported, to be derived from, or built where that was not seen."""
    return any(
        binding.kind == "import" and is_trainer_name(binding.imported)
        for bindings in module.scope.bindings.values()
        for binding in bindings
    )


def _seeds_at_import(program: Program, module: Module) -> tuple[tuple[int, Site, frozenset[Stream]], ...]:
    """What seeds among the calls that importing a file makes, and at which place among them."""
    sites = program.import_sites(module)
    return tuple((at, site, streams) for at, site in enumerate(sites) if (streams := seeds_of(site)))


def _words(_program: Program, module: Module) -> Counter[str]:
    """How often each name stands in a file."""
    return Counter(re.findall(r"[A-Za-z_]\w+", module.text))


def _defined(_program: Program, module: Module) -> Counter[str]:
    """How many functions of each name a file defines."""
    return Counter(scope.name.rpartition(".")[2] for scope in module.scopes.values() if scope.kind == "function")


def _callers(_program: Program, module: Module) -> dict[str, frozenset[str]]:
    """By the name of what is called, the functions of a file that call something of this name."""
    found: dict[str, set[str]] = {}
    for call, scope in module.calls:
        name = last_name(call.func) if isinstance(call.func, ast.Name | ast.Attribute) else ""
        function = scope.function
        last = "" if function is None else function.name.rpartition(".")[2]
        if name and last and not last.startswith("__"):
            found.setdefault(name, set()).add(last)
    return {name: frozenset(callers) for name, callers in found.items()}
