"""Effects: the engine, the builder, inputs, the runner, git, the store. Nothing is decided here."""
