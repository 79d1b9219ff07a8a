"""Certify that a training gives the same bits again: run twice, resumed after kills, and on a rebuilt image.

The folders are rooms by feature, which import in one direction: cli, workflow, report; what is done with finished runs
(archive, verify, signing, replay, history); where trainings run and what they are made of (runs, images, packages,
inputs); review; and the pure judge, evidence and documents.

Python programs call `harness.certify`, `harness.verify`, `harness.diff` and `harness.review`; see `harness.api`.
"""

from harness import review, verify
from harness.api import certify, diff

__all__ = ["certify", "diff", "review", "verify"]
__version__ = "0.2.0"
