"""What a verdict shows of a divergence beside its first place: the state at a resume, the tensors, the layers."""

from __future__ import annotations

from pydantic import Field

from harness.documents.document import Model


class Share(Model):
    """So many of so many."""

    num: int
    of: int

    @property
    def is_whole(self) -> bool:
        return self.num == self.of


class StateRow(Model):
    """One piece of state at a resume; None is what cannot be told.

    Attributes:
        piece: `weights`, `optimizer`, `torch's generator` ...
        in_file: of the straight run's values after the checkpoint's step, those that it holds; generators by their
            kind, numbers of optimizers and schedules by their names.
        calls: what loaded, set or seeded it in the resumed process.
        live: of the straight run's values, those that the resumed process had just before its first step.
        after_step: of the straight run, after which most of what was live was so.
    """

    piece: str
    in_file: Share | None = None
    calls: tuple[str, ...] = ()
    live: Share | None = None
    after_step: int | None = None


class SavedState(Model):
    """Saved against restored: what a resume brought back.

    Attributes:
        run: of the resumed trajectory; it went on after `after_step`.
        read: the checkpoint that it read.
        file: the checkpoint that was looked into, of `file_step`: another one where the one that was read is gone.
    """

    run: int
    after_step: int
    read: str | None
    file: str | None
    file_step: int | None
    rows: tuple[StateRow, ...]


class TensorDifference(Model):
    """One tensor or number that differs: its values where they are known, else digests; `apart` is their distance."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    straight: str
    other: str
    apart: float | None = None


class LayerRow(Model):
    """One module, or neighbouring ones: how many of its tensors differ in each of the map's steps."""

    module: str
    num_tensors: int
    different: tuple[int, ...]


class LayerMap(Model):
    """The modules by name, and the first steps from the first difference on."""

    steps: tuple[int, ...]
    rows: tuple[LayerRow, ...]


class Divergence(Model):
    """What is shown of a divergence: the first tensors of so many that differ in the first stream."""

    state: SavedState | None = None
    tensors: tuple[TensorDifference, ...] = ()
    share: Share = Field(default=Share(num=0, of=0))
    layers: LayerMap | None = None
