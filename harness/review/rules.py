"""All rules of the review, by id: each module of rules exports its own as `RULES`, and here they stand together."""

from __future__ import annotations

from harness.review.code.checkpoints import RULES as CHECKPOINT_RULES
from harness.review.code.downloads import RULES as DOWNLOAD_RULES
from harness.review.code.late_environment import RULES as ENVIRONMENT_RULES
from harness.review.code.loaders import RULES as LOADER_RULES
from harness.review.code.loading import RULES as LOADING_RULES
from harness.review.code.operators import RULES as OPERATOR_RULES
from harness.review.code.order import RULES as ORDER_RULES
from harness.review.code.randomness import RULES as RANDOMNESS_RULES
from harness.review.code.restoring import RULES as RESTORING_RULES
from harness.review.code.saving import RULES as SAVING_RULES
from harness.review.code.seeds import RULES as SEED_RULES
from harness.review.code.switches import RULES as SWITCH_RULES
from harness.review.code.system_random import RULES as SYSTEM_RANDOM_RULES
from harness.review.code.unrestored import RULES as UNRESTORED_RULES
from harness.review.code.validation import RULES as VALIDATION_RULES
from harness.review.evidence.catalogue import RULES as EVIDENCE_RULES
from harness.review.rule import Rule, register
from harness.review.source.allow import RULES as ALLOW_RULES
from harness.review.surroundings.cuda_rules import RULES as CUDA_RULES
from harness.review.surroundings.dockerfiles import RULES as DOCKERFILE_RULES
from harness.review.surroundings.requirements import RULES as REQUIREMENT_RULES

RULES: dict[str, Rule] = register(
    (
        *ALLOW_RULES,
        *CHECKPOINT_RULES,
        *CUDA_RULES,
        *DOCKERFILE_RULES,
        *DOWNLOAD_RULES,
        *ENVIRONMENT_RULES,
        *EVIDENCE_RULES,
        *LOADER_RULES,
        *LOADING_RULES,
        *OPERATOR_RULES,
        *ORDER_RULES,
        *RANDOMNESS_RULES,
        *REQUIREMENT_RULES,
        *RESTORING_RULES,
        *SAVING_RULES,
        *SEED_RULES,
        *SWITCH_RULES,
        *SYSTEM_RANDOM_RULES,
        *VALIDATION_RULES,
        *UNRESTORED_RULES,
    )
)
