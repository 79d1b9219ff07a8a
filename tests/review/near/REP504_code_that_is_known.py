from transformers import AutoConfig, AutoModelForCausalLM

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def load(name, trusted=False):
    model = AutoModelForCausalLM.from_pretrained("org/odd-model", trust_remote_code=True, revision=COMMIT)
    folder = AutoModelForCausalLM.from_pretrained("./odd-model", trust_remote_code=True)
    asked = AutoConfig.from_pretrained(name, trust_remote_code=trusted)
    return model, folder, asked
