"""The model: a frozen base and a LoRA adapter on the linear modules that the configuration names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from config import Config, LoraSettings, PipelineError
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.utils import logging

logging.disable_progress_bar()

# The byte-level vocabulary of a random model: 256 bytes and the three tokens below.
BYTE_SPECIALS = ("<pad>", "<s>", "</s>")
BYTE_VOCABULARY = 256 + len(BYTE_SPECIALS)


def random_base(config: Config) -> LlamaForCausalLM:
    """Return a small Llama with random weights; they depend on torch's generator, so seed before."""
    sizes = config.model
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=BYTE_VOCABULARY,
            hidden_size=sizes.hidden_size,
            intermediate_size=sizes.intermediate_size,
            num_hidden_layers=sizes.num_layers,
            num_attention_heads=sizes.num_heads,
            num_key_value_heads=sizes.num_kv_heads,
            max_position_embeddings=config.data.max_length,
            tie_word_embeddings=False,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def load_base(config: Config, prepared: Path) -> PreTrainedModel:
    """Load the frozen base, float32, from the folder that `prepare.py` wrote.

    Raises:
        PipelineError: the folder holds no model.
    """
    folder = prepared / "model"
    if not (folder / "model.safetensors").is_file():
        raise PipelineError(f"no model in {folder}", "run prepare.py first and give its folder as --prepared")
    return LlamaForCausalLM.from_pretrained(
        str(folder), dtype=torch.float32, attn_implementation=config.model.attention, local_files_only=True
    )


def build_model(config: Config, prepared: Path) -> PeftModel:
    """Load the base and put a fresh adapter on it: A random, B zero, so the output is the base's at first.

    The adapter's weights depend on torch's generator, so seed before. Frozen are all base weights; trainable are
    `...lora_A.default.weight: [r, in]` and `...lora_B.default.weight: [out, r]`, float32.
    """
    settings = config.training
    base = load_base(config, prepared)
    check_targets(base, config.lora)
    base.requires_grad_(False)
    model = get_peft_model(
        base,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=config.lora.r,
            lora_alpha=config.lora.alpha,
            lora_dropout=config.lora.dropout,
            target_modules=list(config.lora.target_modules),
            bias="none",
        ),
    )
    # Stands in adapter_config.json: a name, not this machine's path.
    model.peft_config["default"].base_model_name_or_path = config.model.name
    if settings.precision != "fp32":
        round_frozen_linears(model, half_type(settings.precision))
    if settings.gradient_checkpointing:
        # Not reentrant: the reentrant kind loses the graph where no input wants a gradient, and under a frozen base
        # none does. Each layer is computed again with the generator's state of its first time: the same dropout.
        model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": True})
    return model


def half_type(precision: str) -> torch.dtype:
    """Return the 16-bit type of a mixed precision."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def round_frozen_linears(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Hold the frozen linear modules' weights in 16 bits, as autocast would round them at each use.

    The same values, so the same bits, for half the memory: autocast keeps no rounded copy of a frozen weight but
    the one that each layer's backward needs, and that is as many again. Everything else stays float32, tied
    embeddings too: autocast looks tokens up in float32.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for module in model.modules():
        is_linear = isinstance(module, torch.nn.Linear) and not module.weight.requires_grad
        if is_linear and id(module.weight) not in embeddings:
            module.weight.data = module.weight.data.to(dtype)
            if module.bias is not None:
                module.bias.data = module.bias.data.to(dtype)


def model_inputs(batch: dict[str, torch.Tensor], attention: str) -> dict[str, torch.Tensor]:
    """Turn a micro-batch into the model's arguments; a packed one gets its attention mask here.

    The mask, [rows, 1, to, from], lets a token see itself and those before it in its own segment, for the
    attention "sdpa" as booleans, for "eager" as what is added to the scores, float32. Padding is a segment like any
    other, so no token sees nothing: a softmax over nothing is NaN.
    """
    if "segments" not in batch:
        return {name: batch[name] for name in ("input_ids", "attention_mask")}
    segments = batch["segments"]
    length = segments.shape[1]
    is_same = segments[:, :, None] == segments[:, None, :]
    mask = (is_same & torch.ones(length, length, dtype=torch.bool, device=segments.device).tril())[:, None]
    if attention == "eager":
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
    return {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "attention_mask": mask}


def check_targets(base: torch.nn.Module, lora: LoraSettings) -> None:
    """Require that every target matches a linear module.

    Raises:
        PipelineError: a target matches none; the message lists the linear modules that exist.
    """
    names = [name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)]
    missing = [t for t in lora.target_modules if not any(n == t or n.endswith("." + t) for n in names)]
    if missing:
        existing = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names}))
        raise PipelineError(
            f"lora.target_modules matches no linear module of the model: {', '.join(missing)}",
            f"choose among the linear modules that exist: {existing}",
        )


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the trainable parameters by name, in the model's own order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def load_trainable(model: torch.nn.Module, weights: dict[str, Any]) -> None:
    """Copy saved weights into the trainable parameters, all of them and nothing else.

    Raises:
        PipelineError: the names or shapes differ from the model's.
    """
    own = {name: tuple(parameter.shape) for name, parameter in trainable(model).items()}
    saved = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if own != saved:
        differing = sorted(set(own.items()) ^ set(saved.items()))[:3]
        raise PipelineError(
            f"the checkpoint's weights are not this model's: {differing}",
            "resume with the configuration and the prepared model that the checkpoint was made with",
        )
    model.load_state_dict(weights, strict=False)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter as `PeftModel.from_pretrained` loads it, the whole folder or none."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    # The embeddings are the base's and not trained; "auto" would ask a hub whether they were resized.
    model.save_pretrained(temporary, save_embedding_layers=False)
    for path in temporary.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner only, and whoever reads may be another user
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
