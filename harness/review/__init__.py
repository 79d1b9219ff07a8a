"""The rules that can veto a run, and the reader of source trees. Knows nothing of runs."""
