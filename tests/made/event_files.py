"""Event files of one training together, as TensorBoard shows them: a resume purges what it repeats."""

from dataclasses import replace

from harness.review.evidence.tracking_files import Series


def combine(runs):
    """The runs in the order of their names, as one."""
    steps, texts, keys, runs = {}, [], set(), list(runs)
    for run in runs:
        if run.purged_from is not None:
            steps = {name: [one for one in found if one < run.purged_from] for name, found in steps.items()}
            texts = [text for text in texts if text.step < run.purged_from]
        for series in run.series:
            steps.setdefault(series.name, []).extend(series.steps)
        texts += run.texts
        keys.update(run.config_keys)
    return replace(
        runs[0],
        series=tuple(Series(name=name, steps=tuple(found)) for name, found in sorted(steps.items()) if found),
        texts=tuple(sorted(texts, key=lambda text: (text.name, text.step))),
        config_keys=tuple(sorted(keys)),
        has_config=any(run.has_config for run in runs),
        num_records=sum(run.num_records for run in runs),
    )
