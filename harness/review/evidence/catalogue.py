"""The rules that evidence is held against (REP7xx, REP8xx): what they say. What finds them broken stands in
`state_rules.py`, `tracking_rules.py` and `vram.py`.
"""

from __future__ import annotations

from harness.review.finding import Item
from harness.review.rule import Rule

_NUMERICS = "https://docs.pytorch.org/docs/stable/notes/randomness.html"
_CHECKPOINTS = "https://docs.pytorch.org/tutorials/recipes/recipes/saving_and_loading_a_general_checkpoint.html"
_TENSORBOARD = "https://docs.pytorch.org/docs/stable/tensorboard.html"
_WANDB = "https://docs.wandb.ai/guides/track/"
_MEMORY_NOTES = "https://docs.pytorch.org/docs/stable/generated/torch.cuda.max_memory_reserved.html"


def _rule(number: int, name: str, item: Item, title: str, why: str, fix: str, source: str, thread: str = "") -> Rule:
    return Rule(
        id=f"REP{number}",
        name=name,
        severity="warning",
        items=(item,),
        title=title,
        why=why,
        fix=fix,
        source=source,
        thread=thread,
    )


_STATE: tuple[Rule, ...] = (
    Rule(
        id="REP701",
        name="checkpoint-without-state",
        severity="veto",
        items=("C1", "V2"),
        title="A checkpoint lacks state that the training needs to go on",
        why="What is not in it begins anew after a resume: other moments, another learning rate, other random numbers.",
        fix="Save model, optimizer, scheduler, scaler, the generators that are drawn from, and the place in the data.",
        source=_CHECKPOINTS,
        thread="https://github.com/EvolvingLMMs-Lab/OneVision-Encoder/pull/65",
    ),
    Rule(
        id="REP702",
        name="checkpoint-without-record",
        severity="warning",
        items=("C1",),
        title="A checkpoint does not say what it is of, or holds a part of the state only",
        why="A file without epoch, loss, configuration and seed cannot be told from another, or trained on by others.",
        fix="Add epoch, loss, the complete configuration and the seed to the dictionary that is saved.",
        source=_CHECKPOINTS,
        thread="https://github.com/emidan19/deep-tempest/issues/13",
    ),
    Rule(
        id="REP703",
        name="checkpoint-name",
        severity="warning",
        items=("C2",),
        title="No checkpoint is named {exp}_epoch{N}_loss{L:.4f}.pt at each epoch's end",
        why="The name says what the file is of without opening it, and no epoch overwrites another.",
        fix="Save at each epoch's end under f'{exp}_epoch{epoch}_loss{loss:.4f}.pt'.",
        source=_CHECKPOINTS,
        thread="https://github.com/pytorchbearer/torchbearer/issues/261",
    ),
    Rule(
        id="REP704",
        name="best-and-latest",
        severity="warning",
        items=("C3",),
        title="Best and latest checkpoint are not kept apart",
        why="A resume needs the newest state, an evaluation the best: one file cannot be both.",
        fix="Write latest.pt each time, and best.pt where the validation loss is the lowest so far.",
        source=_CHECKPOINTS,
        thread="https://github.com/huggingface/transformers/issues/12915",
    ),
    Rule(
        id="REP705",
        name="checkpoint-not-continued",
        severity="warning",
        items=("C5",),
        title="A checkpoint was loaded, and the losses that followed are not those of the straight run",
        why="A checkpoint that loads without an error can still bring back another training.",
        fix="Look at the first difference in the report, and save what it names.",
        source=_CHECKPOINTS,
        thread="https://github.com/kdexd/virtex/issues/18",
    ),
    Rule(
        id="REP706",
        name="resume-differs",
        severity="veto",
        items=("C4", "V5"),
        title="The resumed training is not the straight one",
        why="A run that was killed and resumed gives another result than one that was not.",
        fix="The verdict's cause names what did not come back; save and restore it.",
        source=_NUMERICS,
        thread="https://github.com/huggingface/accelerate/issues/2016",
    ),
    Rule(
        id="REP707",
        name="rerun-unseeded",
        severity="veto",
        items=("T1", "V1"),
        title="Two fresh processes drew different random numbers",
        why="A generator without a seed begins elsewhere each time, so no number that follows can be had again.",
        fix="Seed random, numpy, torch and CUDA from the configuration before anything is built.",
        source=_NUMERICS,
        thread="https://github.com/divelab/GOOD/issues/27",
    ),
    Rule(
        id="REP708",
        name="weights-do-not-move",
        severity="warning",
        items=("C5",),
        title="The training changed no weight",
        why="Runs that learn nothing are equal whatever is forgotten: their equality shows nothing.",
        fix="Look at the learning rate, at requires_grad, and at what the optimizer was given.",
        source=_NUMERICS,
        thread="https://github.com/cloneofsimo/lora/issues/26",
    ),
)

_TRACKING: tuple[Rule, ...] = (
    _rule(
        710,
        "versions-not-recorded",
        "E2",
        "The run does not record CUDA, cuDNN and driver",
        "Another version of any of them may give other bits, and nobody can tell afterwards which one it was.",
        "Write torch.version.cuda, torch.backends.cudnn.version() and the driver into a JSON file of the run.",
        "https://docs.pytorch.org/docs/stable/collect_env.html",
        "https://github.com/facebookarchive/fb.resnet.torch/issues/202",
    ),
    _rule(
        712,
        "another-config-saved",
        "E4",
        "The configuration that the run saved is not the one it was given",
        "Whoever trains from the saved file trains something else.",
        "Save the configuration as it was given, defaults added.",
        _WANDB,
        "https://github.com/snap-stanford/roland/issues/10",
    ),
    _rule(
        720,
        "tracking-empty",
        "K1",
        "Neither TensorBoard nor wandb logged anything",
        "A tracker that was set up and never written to looks like one that works, until somebody looks for a curve.",
        "Call add_scalar or wandb.log in the training loop, flush at each checkpoint, and close at the end.",
        _TENSORBOARD,
        "https://github.com/allenai/allennlp/issues/3082",
    ),
    _rule(
        721,
        "config-not-logged",
        "K2",
        "The configuration was not logged as an artifact",
        "Curves without their configuration cannot be compared or had again.",
        "Call add_hparams or add_text('config', ...), or give wandb.init its config.",
        _WANDB,
        "https://github.com/CAREamics/careamics/issues/411",
    ),
    _rule(
        722,
        "validation-not-logged",
        "K3",
        "Training and validation metrics are not both logged",
        "A training loss alone does not show overfitting.",
        "Log the validation loss beside the training loss, with the same steps.",
        _TENSORBOARD,
        "https://github.com/jik876/hifi-gan/issues/9",
    ),
    _rule(
        723,
        "utilisation-not-logged",
        "K4",
        "The GPU's utilisation is not logged",
        "An idle GPU is money spent on waiting for data, and nobody sees it.",
        "Ask NVML (nvidia-ml-py) at each epoch's end, and log it.",
        "https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html",
        "https://github.com/facebookresearch/mmf/issues/1166",
    ),
    _rule(
        724,
        "checkpoint-paths-not-logged",
        "K5",
        "Checkpoint paths are not logged",
        "From a curve one cannot find the file that belongs to it.",
        "Log the path of each checkpoint when it is written.",
        _WANDB,
        "https://github.com/jankrepl/deepdow/issues/85",
    ),
    _rule(
        725,
        "memory-not-logged",
        "T6",
        "VRAM is not logged every epoch",
        "A peak that grows from epoch to epoch ends the run out of memory, and nobody saw it coming.",
        "Log torch.cuda.max_memory_reserved() at each epoch's end.",
        _MEMORY_NOTES,
        "https://github.com/allenai/OLMo/issues/52",
    ),
    _rule(
        726,
        "step-metrics-missing",
        "T7",
        "Loss and learning rate are not logged at every step",
        "A spike of a single step, or a schedule that restarted, shows in nothing else.",
        "Log loss and learning rate after every optimizer step.",
        _TENSORBOARD,
        "https://github.com/huggingface/transformers/issues/35942",
    ),
)

_VRAM: tuple[Rule, ...] = (
    Rule(
        id="REP801",
        name="vram-above-budget",
        severity="veto",
        items=("V4",),
        title="The reserved VRAM is above 90 % of the budget, and no mitigation is in force",
        why="Near the limit one longer batch or a fragmented cache ends the run out of memory, hours later.",
        fix="Turn gradient checkpointing on, make the micro-batch smaller with more accumulation, or use bf16.",
        source="https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management",
        thread="https://github.com/luca-medeiros/lightning-sam/issues/54",
    ),
    Rule(
        id="REP802",
        name="vram-near-budget",
        severity="warning",
        items=("V4",),
        title="The reserved VRAM is above 90 % of the budget although a mitigation is in force",
        why="What could be saved is saved already, and there is still next to no room.",
        fix="Choose a smaller model, a shorter maximum length, or a GPU with more memory.",
        source="https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management",
        thread="https://github.com/pytorch/pytorch/issues/35901",
    ),
)

RULES: tuple[Rule, ...] = (*_STATE, *_TRACKING, *_VRAM)
