"""The cases are read by test_planted.py, never collected: some of them look like tests."""

collect_ignore_glob = ["planted/*", "near/*"]
