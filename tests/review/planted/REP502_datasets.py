from datasets import load_dataset

train = load_dataset("org/questions", split="train")  # expect: REP502
test = load_dataset("imdb", split="test")  # expect: REP502
