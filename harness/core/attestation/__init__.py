"""What is signed and how it is written down: envelopes, public keys, the three statements, the predicate's schema."""
