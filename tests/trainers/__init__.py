"""Training code of others, certified as it is: `make trainers` (docs/guide/any-trainer.md)."""
