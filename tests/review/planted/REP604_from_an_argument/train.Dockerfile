ARG BASE
# expect: REP604 possible
FROM $BASE
COPY train.py /code/train.py
