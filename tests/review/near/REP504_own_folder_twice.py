import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

model_path = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(model_path, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(model_path, trust_remote_code=True)
