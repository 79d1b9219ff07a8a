"""Which calls draw from a global generator: Python's `random`, numpy's, torch's.

What is given a generator of its own draws from none of them. Sources:
https://docs.pytorch.org/docs/stable/notes/randomness.html, https://docs.python.org/3/library/random.html and
https://numpy.org/doc/stable/reference/random/legacy.html.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from harness.review.source.execution import Site
from harness.review.source.module import Function
from harness.review.source.nodes import called, words

Stream = Literal["python", "numpy", "torch"]
Kind = Literal["explicit", "order", "model", "head", "adapter", "augmentation"]
STREAMS: tuple[Stream, ...] = ("python", "numpy", "torch")
GENERATORS: dict[Stream, str] = {
    "python": "Python's global generator",
    "numpy": "numpy's global generator",
    "torch": "torch's global generator",
}

_PYTHON_ORDER = words("choice choices sample shuffle")
PYTHON_DRAWS = _PYTHON_ORDER | words(
    "betavariate binomialvariate expovariate gammavariate gauss getrandbits lognormvariate normalvariate "
    "paretovariate randbytes randint random randrange triangular uniform vonmisesvariate weibullvariate"
)
_NUMPY_ORDER = words("choice permutation shuffle")
NUMPY_DRAWS = _NUMPY_ORDER | words(
    "beta binomial bytes chisquare dirichlet exponential gamma geometric gumbel laplace logistic lognormal "
    "multinomial multivariate_normal normal pareto poisson power rand randint randn random random_integers "
    "random_sample ranf rayleigh sample standard_normal standard_t triangular uniform vonmises wald weibull zipf"
)
TORCH_DRAWS = words(
    "bernoulli multinomial normal poisson rand rand_like randint randint_like randn randn_like randperm"
)
_IN_PLACE = words(
    "bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_ kaiming_normal_ kaiming_uniform_ "
    "orthogonal_ sparse_ trunc_normal_ xavier_normal_ xavier_uniform_"
)
_TENSOR_METHODS = frozenset(name for name in _IN_PLACE if name.count("_") == 1 or name == "log_normal_")
_LAYERS = words(
    "Bilinear Embedding EmbeddingBag GRU GRUCell LSTM LSTMCell LazyLinear Linear MultiheadAttention RNN RNNCell "
    "Transformer TransformerDecoderLayer TransformerEncoderLayer Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d "
    "ConvTranspose3d"
)
_SPLITS = {"random_split": 2, "RandomSampler": 4, "SubsetRandomSampler": 1, "WeightedRandomSampler": 3}
LOADERS = words(
    "torch.utils.data.DataLoader torch.utils.data.dataloader.DataLoader torch_geometric.loader.DataLoader "
    "torchdata.stateful_dataloader.StatefulDataLoader"
)
_SHUFFLED_BY_DEFAULT = words("train_test_split ShuffleSplit StratifiedShuffleSplit GroupShuffleSplit")
_SHUFFLED_IF_ASKED = words("KFold StratifiedKFold StratifiedGroupKFold")
_WITH_HEAD = re.compile(
    r"For\w*(Classification|Regression|QuestionAnswering|MultipleChoice|Segmentation|Detection|Choice)\b"
)
_NO_DRAW_BLOCK = re.compile(r"meta|init_empty|empty_init|skip_init|no_init|disable_init|FakeTensor")
_HARMLESS = re.compile(
    r"(?<![a-z])(ports?|sleep|uuid|token|addr(ess)?|backoff|jitter|delay|wandb|password|tmp|temp_?dir|run_id)(?![a-z])",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Draw:
    """A call that draws from a global generator.

    Attributes:
        what: the call as it is written, or what draws in it, for a message.
        kind: `order` decides which examples come where; `model` and `adapter` are weights.
        is_certain: nothing that is not seen could give it another generator, or keep it from drawing.
        via: the library whose default falls back to this generator, or "".
        is_later: the call draws nothing yet, only what it builds does: a loader that is iterated, a transform.
    """

    site: Site
    stream: Stream
    what: str
    kind: Kind = "explicit"
    is_certain: bool = True
    via: str = ""
    is_later: bool = False


def draw_of(site: Site) -> Draw | None:
    """The draw that a call makes from a global generator, or None."""
    name = site.name
    if not name or "::" in name:
        return _adapter(site) if name.endswith("::get_peft_model") else None
    root, _, rest = name.partition(".")
    if root == "torch":
        return _torch(site, rest)
    if not root or site.method in _TENSOR_METHODS:
        return _in_place(site)
    finder = _BY_ROOT.get(root)
    return None if finder is None else finder(site, rest)


def _draw(site: Site, stream: Stream, kind: Kind = "explicit", via: str = "") -> Draw:
    return Draw(site, stream, called(site.node), kind, site.is_certain and not site.is_open, via)


def _python(site: Site, rest: str) -> Draw | None:
    if rest not in PYTHON_DRAWS or is_harmless(site):
        return None
    return Draw(site, "python", called(site.node), "order" if rest in _PYTHON_ORDER else "explicit", site.is_certain)


def _numpy(site: Site, rest: str) -> Draw | None:
    module, _, last = rest.partition(".")
    if module != "random" or last not in NUMPY_DRAWS or is_harmless(site):
        return None
    return Draw(site, "numpy", called(site.node), "order" if last in _NUMPY_ORDER else "explicit", site.is_certain)


def _torch(site: Site, rest: str) -> Draw | None:
    package, _, last = rest.rpartition(".")
    if site.name in LOADERS:
        return _loader(site)
    if "()" in package or (site.method in _TENSOR_METHODS and package != "nn.init"):
        return _in_place(site)
    if last in _SPLITS and package.startswith("utils.data"):
        draw = replace(_draw(site, "torch", "order"), is_later=last != "random_split")
        return draw if is_unset(site, "generator", _SPLITS[last]) else None
    if (package == "" and last in TORCH_DRAWS) or (package == "nn.init" and last in _IN_PLACE):
        is_seen = not (site.argument("generator") or _is_left_out(site) or is_harmless(site))
        return _draw(site, "torch", "model" if package else "explicit") if is_seen else None
    if package == "nn" and last in _LAYERS and not _is_left_out(site):
        return _draw(site, "torch", "model")
    return None


def _in_place(site: Site) -> Draw | None:
    """A method of a tensor that fills it."""
    if site.method not in _TENSOR_METHODS or site.argument("generator") or _is_left_out(site):
        return None
    return Draw(site, "torch", called(site.node), "explicit", not site.is_open)


def _loader(site: Site) -> Draw | None:
    if site.constant(site.argument("shuffle", 2)) is not True or site.argument("generator") is not None:
        return None
    return replace(_draw(site, "torch", "order"), what=f"{called(site.node)}(shuffle=True)", is_later=True)


def _sklearn(site: Site, rest: str) -> Draw | None:
    last, shuffle = rest.rpartition(".")[2], site.argument("shuffle")
    if rest not in ("utils.shuffle", "utils.resample"):
        is_asked = shuffle is not None and site.constant(shuffle) is True
        is_default = last in _SHUFFLED_BY_DEFAULT and (shuffle is None or site.constant(shuffle) is None)
        if not is_default and not (is_asked and last in _SHUFFLED_IF_ASKED | _SHUFFLED_BY_DEFAULT):
            return None
    draw = replace(_draw(site, "numpy", "order", "scikit-learn"), is_later=last[:1].isupper())
    return draw if is_unset(site, "random_state") else None


def _pandas(site: Site, rest: str) -> Draw | None:
    if site.method != "sample" or "()" not in rest or not is_unset(site, "random_state", 4):
        return None
    is_group = rest.rpartition(".")[0].endswith(("groupby()", "rolling()"))
    return None if is_group else _draw(site, "numpy", "order", "pandas")


def _datasets(site: Site, rest: str) -> Draw | None:
    if site.method not in ("shuffle", "train_test_split") or "()" not in rest or not is_unset(site, "generator"):
        return None
    if not is_unset(site, "seed", 0 if site.method == "shuffle" else None) or is_streamed(site):
        return None
    shuffle = site.argument("shuffle")
    is_left = shuffle is not None and site.constant(shuffle) is not True
    return None if is_left else _draw(site, "numpy", "order", "datasets")


def _transformers(site: Site, rest: str) -> Draw | None:
    last = rest.rpartition(".")[2]
    if last == "from_pretrained" and _WITH_HEAD.search(rest):
        return replace(_draw(site, "torch", "head"), is_certain=False)  # a checkpoint of the same task has the head
    is_config = last == "from_config" and rest.partition(".")[0].startswith("AutoModel")
    is_class = re.fullmatch(r"\w+(For\w+|LMHeadModel|DoubleHeadsModel)", rest) is not None and bool(site.node.args)
    is_class = is_class and not rest.startswith(("Auto", "DataCollator", "Trainer"))
    return _draw(site, "torch", "model") if (is_config or is_class) and not _is_left_out(site) else None


_AUGMENTATIONS = words("AugMix AutoAugment ColorJitter CutMix MixUp RandAugment TrivialAugmentWide")
_DRAWN_ADAPTERS = words(
    "AdaLoraConfig DeloraConfig FourierFTConfig LoHaConfig LoKrConfig LoraConfig PrefixTuningConfig "
    "PromptEncoderConfig PromptTuningConfig VBLoRAConfig"
)
_DRAWN_INITS = (True, False, "gaussian", "orthogonal")


def _adapter(site: Site, _rest: str = "") -> Draw | None:
    if site.name.rpartition(".")[2].rpartition("::")[2] != "get_peft_model" or _is_left_out(site):
        return None
    draw, config = _draw(site, "torch", "adapter"), site.resolve(site.argument("peft_config", 1))
    if config is None or not isinstance(config.node, ast.Call) or config.scope is None:
        return replace(draw, is_certain=False)
    if config.name.removesuffix("()").rpartition(".")[2].rpartition("::")[2] not in _DRAWN_ADAPTERS:
        return None
    made = Site(config.node, config.scope, site.resolver, None)
    init = made.constant(made.argument("init_lora_weights")) if made.argument("init_lora_weights") else True
    if init is not ... and init not in _DRAWN_INITS:  # pissa, olora, eva ...: computed from the model's own weights
        return None
    return replace(draw, is_certain=draw.is_certain and init is not ... and config.is_certain and not made.is_open)


def _torchvision(site: Site, rest: str) -> Draw | None:
    package, _, last = rest.rpartition(".")
    is_augmentation = last in _AUGMENTATIONS or last.startswith("Random")
    if package in ("transforms", "transforms.v2") and is_augmentation and site.constant(site.argument("p", 0)) != 0:
        return replace(_draw(site, "torch", "augmentation"), is_later=last[:1].isupper())
    is_model = package == "models" and last[:1].islower() and not last.startswith(("get_", "list_"))
    if not is_model or site.node.args or _is_left_out(site):
        return None
    return _draw(site, "torch", "model") if is_unset(site, "weights") and is_unset(site, "pretrained") else None


_BY_ROOT: dict[str, Callable[[Site, str], Draw | None]] = {
    "torchvision": _torchvision,
    "random": _python,
    "numpy": _numpy,
    "sklearn": _sklearn,
    "pandas": _pandas,
    "datasets": _datasets,
    "transformers": _transformers,
    "peft": _adapter,
}


def is_unset(site: Site, name: str, position: int | None = None) -> bool:
    """Whether an argument is left out, or is None."""
    given = site.argument(name, position)
    return given is None or site.constant(given) is None


def is_streamed(site: Site) -> bool:
    """A shuffle of an IterableDataset: it has a buffer, or its data set was loaded for streaming."""
    return site.argument("buffer_size") is not None or "streaming" in ast.unparse(site.node.func)


def is_harmless(site: Site) -> bool:
    """Whether what is drawn goes to a port, a name, a pause: nothing that a training computes with."""
    statement = site.statement
    if statement is None or isinstance(statement, ast.For | ast.While | ast.If | ast.With | ast.Try | Function):
        return False
    return _HARMLESS.search(ast.unparse(statement)) is not None


def _is_left_out(site: Site) -> bool:
    """Built without memory or without initialisation: on the meta device, inside init_empty_weights and its like."""
    device = site.argument("device")
    if device is not None and site.constant(device) == "meta":
        return True
    for above in site.module.ancestors(site.node):
        if isinstance(above, ast.With) and any(_NO_DRAW_BLOCK.search(ast.unparse(one)) for one in above.items):
            return True
    return False
