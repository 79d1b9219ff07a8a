"""Certify that a training run gives the same bits again: rerun, resumed after kills, and on a rebuilt image.

`cli` calls `workflow`; `workflow` calls `host` (effects) and `report` (presenters); all of them use `core`
(pure values and functions); everything may raise what `errors` defines. Arrows point one way only.
"""

__version__ = "0.1.0"
