"""Pipelines with one planted bug each: `train.py`, and the experiment that trains it."""

EXPERIMENT = """
schema: 1
image: cpu
run: [python, tests/mutants/train.py, --config, "{{config}}", --output, "{{output}}"]
resume: [python, tests/mutants/train.py, --config, "{{config}}", --output, "{{output}}", --resume]
config: {{seed: 7, steps: 16, lr: 0.01, batch_size: 6, save_every: 3, accumulation: 2, bug: {bug}}}
steps: 16
outputs: [model.safetensors]
checkpoints: ["checkpoints/*.pt"]
environment: {{OMP_NUM_THREADS: "1", ATEN_CPU_CAPABILITY: avx2}}
interruptions:
  - {{kind: micro_batch, step: 8, micro_batch: 1}}
  - {{kind: after_step, step: 11, by: outside}}
policy: {{required: [rerun, resume], rerun: prefix}}
"""


def mutant(bug: str) -> str:
    """The experiment whose training has a bug; `null` has none."""
    return EXPERIMENT.format(bug=bug)
