def ids(rows):
    lengths = {len(row) for row in rows}
    buckets = list(lengths)
    unique = list({int(row) for row in rows if row.isdigit()})
    return buckets, unique


def groups(names):
    unique = set(name.lower() for name in names)
    members = [[i for i, one in enumerate(names) if one.lower() == name] for name in unique]
    result = [0] * len(names)
    for i, name in enumerate(unique):
        for at in members[i]:
            result[at] = len(name)
    return result
