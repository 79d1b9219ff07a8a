def label_map(lines):
    labels = set(line.strip().split("\t")[1] for line in lines)  # expect: REP203
    return {label: i for i, label in enumerate(labels)}


print(label_map(["a\tpos", "b\tneg"]))
