from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = "org/small-model"

tokenizer = AutoTokenizer.from_pretrained(BASE)  # expect: REP501
model = AutoModelForCausalLM.from_pretrained(BASE, torch_dtype="bfloat16")
