"""Early stopping: when a training has validated often enough without getting better."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class EarlyStopping:
    """Counts the validations in a row that did not lower the loss by more than `min_delta` (in nats).

    The loss to beat is the one of the last validation that did, so many small gains add up to one. (The best
    checkpoint is another matter: any lower loss makes one.) The whole state is in every checkpoint, so a resumed
    training stops after the same step.
    """

    patience: int | None  # stop after so many; None: never
    min_delta: float
    loss_to_beat: float | None = None
    num_stale: int = 0

    def update(self, validation_loss: float) -> None:
        """Count a validation at an epoch's end."""
        if self.loss_to_beat is None or validation_loss < self.loss_to_beat - self.min_delta:
            self.loss_to_beat, self.num_stale = validation_loss, 0
        else:
            self.num_stale += 1

    @property
    def is_due(self) -> bool:
        """Whether the training is to end here."""
        return self.patience is not None and self.num_stale >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue counting; patience and delta are the configuration's, which a resume may not change."""
        self.loss_to_beat, self.num_stale = state["loss_to_beat"], state["num_stale"]
