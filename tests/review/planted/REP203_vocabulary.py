import json

text = open("corpus.txt", encoding="utf-8").read()
words = list(set(text.split()))  # expect: REP203
with open("vocabulary.json", "w", encoding="utf-8") as file:
    json.dump({"tokens": [words[i] for i in range(len(words))], "first": words[0]}, file)
