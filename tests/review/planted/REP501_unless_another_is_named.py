import argparse

import transformers


def load(name: str = "bert-base-uncased"):
    return transformers.AutoModel.from_pretrained(name)  # expect: REP501 possible


parser = argparse.ArgumentParser()
parser.add_argument("--model-name", default="org/small-model")


def main():
    args = parser.parse_args()
    return load("/models/bert"), transformers.AutoTokenizer.from_pretrained(args.model_name)  # expect: REP501 possible
