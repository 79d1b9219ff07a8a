from datasets import load_dataset, load_from_disk

rows = load_dataset("json", data_files="rows.jsonl")
images = load_dataset("imagefolder", data_dir="images")
pinned = load_dataset("org/questions", revision="0123456789abcdef0123456789abcdef01234567")
folder = load_dataset("./questions")
saved = load_from_disk("questions")
