import requests


def releases(path):
    found = requests.get("https://api.example.org/releases", timeout=5).json()
    with open(path, "wb") as file:
        file.write("\n".join(one["name"] for one in found).encode())
