"""What an archive must survive: attacks on it, each with the answer of `harness verify`."""
