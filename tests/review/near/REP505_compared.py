import hashlib
import urllib.request

import requests
import torch

URL = "https://data.example.org/rows.jsonl"


def fetch(path, expected):
    urllib.request.urlretrieve(URL, path)
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise SystemExit(f"{path} is not what it was")


def weights(url):
    return torch.hub.load_state_dict_from_url(url, check_hash=True)


def status():
    return requests.get("https://api.example.org/status", timeout=5).json()
