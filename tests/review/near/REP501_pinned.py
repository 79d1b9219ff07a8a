from transformers import AutoModelForCausalLM, AutoTokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def load(options, revision=COMMIT):
    tokenizer = AutoTokenizer.from_pretrained("org/small-model", revision=COMMIT)
    model = AutoModelForCausalLM.from_pretrained("org/small-model", revision=revision)
    other = AutoModelForCausalLM.from_pretrained("org/small-model", **options)
    return tokenizer, model, other
