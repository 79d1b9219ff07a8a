"""Training scripts as people write them, with the verdict that is right."""
