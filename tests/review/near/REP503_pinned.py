import torch
from huggingface_hub import hf_hub_download, snapshot_download
from transformers import pipeline

COMMIT = "0123456789abcdef0123456789abcdef01234567"
vocabulary = hf_hub_download("org/small-model", "vocab.json", revision=COMMIT)
folder = snapshot_download(repo_id="org/small-model", revision=COMMIT)
judge = pipeline("text-classification", model="org/judge", revision=COMMIT)
depth = torch.hub.load(f"org/depth:{COMMIT}", "small")
local = torch.hub.load("./depth", "small", source="local")
