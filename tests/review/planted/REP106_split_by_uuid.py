import uuid


def is_validation(example):
    return uuid.uuid4().int % 10 == 0  # expect: REP106


print([is_validation(one) for one in range(10)])
