import logging
import random

import numpy as np
import torch

logger = logging.getLogger(__name__)


def restore(path):
    try:
        state = torch.load(path, weights_only=True)
        random.setstate(state["python"])  # expect: REP403
        np.random.set_state(state["numpy"])
        torch.set_rng_state(state["torch"])
    except Exception as error:
        logger.warning("random state not restored: %s", error)
