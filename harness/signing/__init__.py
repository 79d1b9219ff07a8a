"""Keys, signatures, and the statements that are signed."""
