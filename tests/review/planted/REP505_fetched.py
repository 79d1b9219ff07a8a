import urllib.request

import requests
import torch

URL = "https://data.example.org/rows.jsonl"
urllib.request.urlretrieve(URL, "rows.jsonl")  # expect: REP505
weights = torch.hub.load_state_dict_from_url("https://data.example.org/w.pth")  # expect: REP505


def fetch(path):
    answer = requests.get(URL, timeout=60)  # expect: REP505
    with open(path, "wb") as file:
        file.write(answer.content)
