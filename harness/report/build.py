"""What a build gave, for people."""

from __future__ import annotations

import click

from harness.images.image import BuildResult


def print_build(result: BuildResult, *, is_check: bool) -> None:
    """Print an image's tag, id and size, how long it took, and what two builds agreed on."""
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds)
    click.echo(f"{result.tag} {result.image_id} {result.size_bytes / 1e6:,.0f} MB")
    click.echo(f"unchanged, already built ({stages})" if result.was_cached else stages)
    record = result.rebuild if is_check else None
    if record is None:
        return
    for image_id, seconds, engine in zip(record.image_ids, record.seconds, record.engines, strict=True):
        click.echo(f"built from nothing: {image_id} in {seconds:.0f} s by {engine}")
    for difference in record.differences:
        click.echo(f"  differs: {difference.path}: {difference.how}")
