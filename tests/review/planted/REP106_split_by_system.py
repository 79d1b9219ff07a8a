import random

examples = [f"example {i}" for i in range(100)]
source = random.SystemRandom()
source.shuffle(examples)  # expect: REP106
train, valid = examples[:90], examples[90:]
print(len(train), len(valid))
