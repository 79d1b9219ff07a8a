from transformers import AutoModelForCausalLM


def load(model_dir):
    return AutoModelForCausalLM.from_pretrained(model_dir, trust_remote_code=True)
