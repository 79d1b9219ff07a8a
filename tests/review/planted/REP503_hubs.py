import torch
from huggingface_hub import hf_hub_download, snapshot_download
from transformers import pipeline

vocabulary = hf_hub_download("org/small-model", "vocab.json")  # expect: REP503
folder = snapshot_download(repo_id="org/small-model")  # expect: REP503
judge = pipeline("text-classification", model="org/judge")  # expect: REP503
depth = torch.hub.load("org/depth", "small")  # expect: REP503
