from transformers import AutoModelForCausalLM, AutoTokenizer


class Own:
    @classmethod
    def from_pretrained(cls, name):
        return cls()


def load(folder):
    tokenizer = AutoTokenizer.from_pretrained("./models/small")
    tokenizer.save_pretrained("adapted/small")
    return (
        AutoTokenizer.from_pretrained("adapted/small"),
        AutoModelForCausalLM.from_pretrained("outputs/run-3"),
        AutoModelForCausalLM.from_pretrained(folder),
        Own.from_pretrained("org/small-model"),
    )
