"""Which calls draw from a global generator: Python's `random`, numpy's, torch's.

What is given a generator of its own draws from none of them. Sources:
https://docs.pytorch.org/docs/stable/notes/randomness.html, https://docs.python.org/3/library/random.html and
https://numpy.org/doc/stable/reference/random/legacy.html.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.review.source.module import Function
from harness.review.source.program import Site

Stream = Literal["python", "numpy", "torch"]
Kind = Literal["explicit", "order", "model", "adapter", "augmentation"]
STREAMS: tuple[Stream, ...] = ("python", "numpy", "torch")
GENERATORS: dict[Stream, str] = {
    "python": "Python's global generator",
    "numpy": "numpy's global generator",
    "torch": "torch's global generator",
}

_PYTHON_ORDER = frozenset(("choice", "choices", "sample", "shuffle"))
_PYTHON = _PYTHON_ORDER | frozenset(
    (
        *("betavariate", "binomialvariate", "expovariate", "gammavariate", "gauss", "getrandbits", "lognormvariate"),
        *("normalvariate", "paretovariate", "randbytes", "randint", "random", "randrange", "triangular", "uniform"),
        *("vonmisesvariate", "weibullvariate"),
    )
)
_NUMPY_ORDER = frozenset(("choice", "permutation", "shuffle"))
_NUMPY = _NUMPY_ORDER | frozenset(
    (
        *("beta", "binomial", "bytes", "chisquare", "dirichlet", "exponential", "gamma", "geometric", "gumbel"),
        *("laplace", "logistic", "lognormal", "multinomial", "multivariate_normal", "normal", "pareto", "poisson"),
        *("power", "rand", "randint", "randn", "random", "random_integers", "random_sample", "ranf", "rayleigh"),
        *("sample", "standard_normal", "standard_t", "triangular", "uniform", "vonmises", "wald", "weibull", "zipf"),
    )
)
_TORCH = frozenset(
    (
        *("bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn"),
        *("randn_like", "randperm"),
    )
)
_IN_PLACE = frozenset(
    (
        *("bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"),
        *("kaiming_normal_", "kaiming_uniform_", "orthogonal_", "sparse_", "trunc_normal_", "xavier_normal_"),
        "xavier_uniform_",
    )
)
_TENSOR_METHODS = frozenset(name for name in _IN_PLACE if name.count("_") == 1 or name == "log_normal_")
_LAYERS = frozenset(
    (
        *("Bilinear", "Embedding", "EmbeddingBag", "GRU", "GRUCell", "LSTM", "LSTMCell", "LazyLinear", "Linear"),
        *("MultiheadAttention", "RNN", "RNNCell", "Transformer", "TransformerDecoderLayer"),
        *("TransformerEncoderLayer", *(f"Conv{t}{d}d" for t in ("", "Transpose") for d in "123")),
    )
)
_SPLITS = {"random_split": 2, "RandomSampler": 4, "SubsetRandomSampler": 1, "WeightedRandomSampler": 3}
LOADERS = frozenset(
    (
        *("torch.utils.data.DataLoader", "torch.utils.data.dataloader.DataLoader"),
        *("torch_geometric.loader.DataLoader", "torchdata.stateful_dataloader.StatefulDataLoader"),
    )
)
_SHUFFLED_BY_DEFAULT = frozenset(("train_test_split", "ShuffleSplit", "StratifiedShuffleSplit", "GroupShuffleSplit"))
_SHUFFLED_IF_ASKED = frozenset(("KFold", "StratifiedKFold", "StratifiedGroupKFold"))
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
    """

    site: Site
    stream: Stream
    what: str
    kind: Kind = "explicit"
    is_certain: bool = True
    via: str = ""


def draw_of(site: Site) -> Draw | None:
    """The draw that a call makes from a global generator, or None."""
    name = site.name
    if not name or "::" in name:
        return _adapter(site) if name.endswith("::get_peft_model") else None
    root, _, rest = name.partition(".")
    if root == "torch":
        return _torch(site, rest)
    if not root or site.method in _TENSOR_METHODS:
        return _in_place(site) if site.method in _TENSOR_METHODS and not site.argument("generator") else None
    finder = _BY_ROOT.get(root)
    return None if finder is None else finder(site, rest)


def written(node: ast.AST) -> str:
    """What is called, as the source has it, in one short line."""
    text = ast.unparse(node.func if isinstance(node, ast.Call) else node).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}..."


def _python(site: Site, rest: str) -> Draw | None:
    if rest not in _PYTHON or is_harmless(site):
        return None
    return Draw(site, "python", written(site.node), "order" if rest in _PYTHON_ORDER else "explicit", site.is_certain)


def _numpy(site: Site, rest: str) -> Draw | None:
    module, _, last = rest.partition(".")
    if module != "random" or last not in _NUMPY or is_harmless(site):
        return None
    return Draw(site, "numpy", written(site.node), "order" if last in _NUMPY_ORDER else "explicit", site.is_certain)


def _torch(site: Site, rest: str) -> Draw | None:
    if site.name in LOADERS:
        return _loader(site)
    package, _, last = rest.rpartition(".")
    if "()" in package or (site.method in _TENSOR_METHODS and package != "nn.init"):
        return _in_place(site) if site.method in _TENSOR_METHODS and not site.argument("generator") else None
    if last in _SPLITS and package.startswith("utils.data"):
        given = site.argument("generator", _SPLITS[last])
        is_seeded = given is not None and site.constant(given) is not None
        return None if is_seeded else Draw(site, "torch", written(site.node), "order", _is_sure(site))
    if (package == "" and last in _TORCH) or (package == "nn.init" and last in _IN_PLACE):
        return (
            None
            if site.argument("generator") or _is_left_out(site) or is_harmless(site)
            else Draw(site, "torch", written(site.node), "model" if package else "explicit", _is_sure(site))
        )
    if package == "nn" and last in _LAYERS:
        return None if _is_left_out(site) else Draw(site, "torch", written(site.node), "model", _is_sure(site))
    return None


def _in_place(site: Site) -> Draw | None:
    return None if _is_left_out(site) else Draw(site, "torch", written(site.node), "explicit", not site.is_open)


def _loader(site: Site) -> Draw | None:
    if site.constant(site.argument("shuffle", 2)) is not True or site.argument("generator") is not None:
        return None
    return Draw(site, "torch", f"{written(site.node)}(shuffle=True)", "order", _is_sure(site))


def _sklearn(site: Site, rest: str) -> Draw | None:
    last = rest.rpartition(".")[2]
    shuffle = site.constant(site.argument("shuffle")) if site.argument("shuffle") is not None else None
    is_drawn = (last in _SHUFFLED_BY_DEFAULT and shuffle is None) or (
        last in {*_SHUFFLED_IF_ASKED, *_SHUFFLED_BY_DEFAULT} and shuffle is True
    )
    if not (is_drawn or rest in ("utils.shuffle", "utils.resample")) or not is_unset(site, "random_state"):
        return None
    return Draw(site, "numpy", written(site.node), "order", _is_sure(site), via="scikit-learn")


def _pandas(site: Site, rest: str) -> Draw | None:
    if site.method != "sample" or "()" not in rest or not is_unset(site, "random_state", 4):
        return None
    if rest.rpartition(".")[0].endswith(("groupby()", "rolling()")):
        return None
    return Draw(site, "numpy", written(site.node), "order", _is_sure(site), via="pandas")


def _datasets(site: Site, rest: str) -> Draw | None:
    if site.method not in ("shuffle", "train_test_split") or "()" not in rest or not is_unset(site, "generator"):
        return None
    if not is_unset(site, "seed", 0 if site.method == "shuffle" else None) or is_streamed(site):
        return None
    shuffle = site.argument("shuffle")
    if shuffle is not None and site.constant(shuffle) is not True:
        return None
    return Draw(site, "numpy", written(site.node), "order", _is_sure(site), via="datasets")


def _transformers(site: Site, rest: str) -> Draw | None:
    last = rest.rpartition(".")[2]
    is_config = last == "from_config" and rest.partition(".")[0].startswith("AutoModel")
    is_class = re.fullmatch(r"\w+(For\w+|LMHeadModel|DoubleHeadsModel)", rest) is not None and bool(site.node.args)
    is_class = is_class and not rest.startswith(("Auto", "DataCollator", "Trainer"))
    if not (is_config or is_class) or _is_left_out(site):
        return None
    return Draw(site, "torch", written(site.node), "model", _is_sure(site))


_AUGMENTATIONS = frozenset(
    ("AugMix", "AutoAugment", "ColorJitter", "CutMix", "MixUp", "RandAugment", "TrivialAugmentWide")
)
_DRAWN_ADAPTERS = frozenset(
    (
        *("AdaLoraConfig", "DeloraConfig", "FourierFTConfig", "LoHaConfig", "LoKrConfig", "LoraConfig"),
        *("PrefixTuningConfig", "PromptEncoderConfig", "PromptTuningConfig", "VBLoRAConfig"),
    )
)
_DRAWN_INITS = (True, False, "gaussian", "orthogonal")


def _adapter(site: Site, _rest: str = "") -> Draw | None:
    if site.name.rpartition(".")[2].rpartition("::")[2] != "get_peft_model" or _is_left_out(site):
        return None
    config = site.resolve(site.argument("peft_config", 1))
    if config is None or not isinstance(config.node, ast.Call) or config.scope is None:
        return Draw(site, "torch", written(site.node), "adapter", is_certain=False)
    if config.name.removesuffix("()").rpartition(".")[2].rpartition("::")[2] not in _DRAWN_ADAPTERS:
        return None
    made = Site(config.node, config.scope, site.resolver, None)
    init = made.constant(made.argument("init_lora_weights")) if made.argument("init_lora_weights") else True
    if init is not ... and init not in _DRAWN_INITS:  # pissa, olora, eva ...: computed from the model's own weights
        return None
    is_sure = init is not ... and config.is_certain and not made.is_open and _is_sure(site)
    return Draw(site, "torch", written(site.node), "adapter", is_sure)


def _torchvision(site: Site, rest: str) -> Draw | None:
    package, _, last = rest.rpartition(".")
    is_augmentation = package in ("transforms", "transforms.v2") and (
        last in _AUGMENTATIONS or last.startswith("Random")
    )
    if is_augmentation and site.constant(site.argument("p", 0)) != 0:
        return Draw(site, "torch", written(site.node), "augmentation", _is_sure(site))
    is_model = package == "models" and last[:1].islower() and not last.startswith(("get_", "list_"))
    if not is_model or site.node.args or _is_left_out(site):
        return None
    if is_unset(site, "weights") and is_unset(site, "pretrained"):
        return Draw(site, "torch", written(site.node), "model", _is_sure(site))
    return None


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
    statement = next((one for one in site.module.ancestors(site.node) if isinstance(one, ast.stmt)), None)
    if statement is None or isinstance(statement, ast.For | ast.While | ast.If | ast.With | ast.Try | Function):
        return False
    return _HARMLESS.search(ast.unparse(statement)) is not None


def _is_sure(site: Site) -> bool:
    return site.is_certain and not site.is_open


def _is_left_out(site: Site) -> bool:
    """Built without memory or without initialisation: on the meta device, inside init_empty_weights and its like."""
    device = site.argument("device")
    if device is not None and site.constant(device) == "meta":
        return True
    for above in site.module.ancestors(site.node):
        if isinstance(above, ast.With) and any(_NO_DRAW_BLOCK.search(ast.unparse(one)) for one in above.items):
            return True
    return False
