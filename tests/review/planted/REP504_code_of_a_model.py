from transformers import AutoModelForCausalLM


def load(name):
    model = AutoModelForCausalLM.from_pretrained("org/odd-model", trust_remote_code=True)  # expect: REP504
    other = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=True)  # expect: REP504 possible
    return model, other
