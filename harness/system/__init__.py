"""The machine: cache, git, engine, GPUs, signals, and reading files that nobody has to trust."""
