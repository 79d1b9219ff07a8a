import torch


def targets_of(model):
    names = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            names.add(name.split(".")[-1])
    return names


special = {"<pad>", "<bos>", "<eos>"}  # expect: REP203


def extend(tokenizer):
    tokenizer.add_tokens(list(special))
