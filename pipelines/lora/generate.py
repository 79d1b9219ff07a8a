"""Load the base and a trained adapter, and answer one prompt.

    python pipelines/lora/generate.py --prepared DIR --adapter DIR/adapter --prompt "Define: dog (noun)"

A prompt of the form "Define: word (part)" is put into the template that the data were prepared with; any other is
given to the model as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import torch
from config import EXIT_USAGE, Config, PipelineError, load_config
from data import fill_prompt
from model import load_base
from peft import PeftModel
from transformers import PreTrainedTokenizerFast


def generate(config: Config, prepared: Path, adapter: Path, prompt: str, max_new_tokens: int) -> str:
    """Return the answer of the adapted model, decoded greedily.

    Raises:
        PipelineError: the adapter or the prepared model is not there.
    """
    if not (adapter / "adapter_model.safetensors").is_file():
        raise PipelineError(f"no adapter in {adapter}", "train first; the adapter is written at the end")
    model = PeftModel.from_pretrained(load_base(config, prepared), str(adapter)).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(prepared / "model"), local_files_only=True)
    asked = re.fullmatch(r"Define: (.+) \((\w+)\)", prompt.strip())
    text = fill_prompt(config.data.prompt, asked[1], asked[2]) if asked else prompt
    input_ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        answer = model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
    return str(tokenizer.decode(answer[0, input_ids.shape[1] :], skip_special_tokens=True))


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, print the answer, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, help="the configuration; default: config.json beside the adapter")
    parser.add_argument("--prepared", type=Path, required=True, help="the folder that prepare.py wrote")
    parser.add_argument("--adapter", type=Path, required=True, help="the adapter's folder")
    parser.add_argument("--prompt", required=True, help='such as "Define: dog (noun)"')
    parser.add_argument("--max-new-tokens", type=int, default=40)
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config or options.adapter.parent / "config.json")
        print(generate(config, options.prepared, options.adapter, options.prompt, options.max_new_tokens))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
