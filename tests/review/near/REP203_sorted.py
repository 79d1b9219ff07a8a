import logging

logger = logging.getLogger(__name__)


def vocabulary(text, stop_words):
    words = sorted(set(text.split()))
    stop = set(stop_words)
    kept = [word for word in words if word not in stop]
    labels = {"pos", "neg"}
    longest = max({word.lower() for word in words})
    missing = [f"{label}" for label in sorted(labels)]
    number = len(set(text.split())) + sum(len(word) for word in labels)
    print(f"labels: {', '.join(labels)}")
    logger.warning_once("labels: {}".format(",".join(labels)))
    pairs = {f"{word}->{word}" for word in words[:1]}
    assert len(pairs) == 1
    print(list(pairs)[0], kept[list(pairs)[0] == "x"])
    if not labels <= set(words):
        raise ValueError(f"missing: {labels - set(words)}")
    return kept, longest, missing, number
