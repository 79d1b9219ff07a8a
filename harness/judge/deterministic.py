"""Operators that torch documents as nondeterministic, with what it offers instead."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.documents.diagnosis import Operator

_PAGE = "https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html"
_ATTENTION = "https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html"
_FILL = "https://docs.pytorch.org/docs/stable/deterministic.html"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and the page that says so."""

    fix: str
    source: str = ""


UNINITIALISED = Advice(
    "Fill the memory before it is read: torch.zeros instead of torch.empty. With "
    "torch.use_deterministic_algorithms(True) torch fills it with NaN, which shows where it is read.",
    _FILL,
)
_SWITCHED = re.compile(
    r"(cudnn_|slow_|mkldnn_)?conv\w*|replication_pad[123]d_backward|_?index_put\w*|put_?|scatter_add_?|gather_backward|"
    r"index_add_?|index_select_backward|repeat_interleave\w*|index_copy_?|scatter_?|scatter_reduce_?|"
    r"max_pool3d_with_indices_backward"
)
_REFUSED = re.compile(
    r"avg_pool3d_backward|_?adaptive_avg_pool[23]d_backward|adaptive_max_pool2d_backward|"
    r"fractional_max_pool[23]d_backward|max_unpool[23]d|upsample_(linear1d|bilinear2d|bicubic2d|trilinear3d)_backward|"
    r"reflection_pad[123]d_backward|nll_loss2?d?_forward|_ctc_loss_backward|_embedding_bag_\w*backward|histc|bincount|"
    r"median|grid_sampler_[23]d_backward|cumsum_?"
)
_ATTENDS = re.compile(r"_scaled_dot_product_\w*attention\w*_backward|_(flash|efficient)_attention_backward")


def advice_for(operator: Operator) -> Advice:
    """What torch documents for an operator; for one that it does not name, what is left to try."""
    name = operator.name.split(".")[1] if operator.name.count(".") else operator.name
    if not operator.name.startswith("aten."):
        return Advice(
            f"{operator.name} is not torch's own: look in its code for sums in the order of threads, for atomic "
            "additions, and for memory that is read before it is written."
        )
    if _SWITCHED.fullmatch(name):
        return Advice("torch.use_deterministic_algorithms(True) makes it take a deterministic algorithm.", _PAGE)
    if _REFUSED.fullmatch(name):
        return Advice(
            "torch has no deterministic algorithm for it on a GPU: torch.use_deterministic_algorithms(True) raises an "
            "error there. Compute it on the CPU, or write it with other operators.",
            _PAGE,
        )
    if _ATTENDS.fullmatch(name):
        return Advice(
            "torch.use_deterministic_algorithms(True) makes it take a deterministic algorithm; or choose another "
            "kernel with torch.nn.attention.sdpa_kernel(SDPBackend.MATH).",
            _ATTENTION,
        )
    return Advice(
        "torch does not list it as nondeterministic. Set the number of threads (OMP_NUM_THREADS, "
        "torch.set_num_threads) and CUBLAS_WORKSPACE_CONFIG, and try torch.use_deterministic_algorithms(True)."
    )
