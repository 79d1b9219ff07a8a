"""From somebody's repository to an experiment: what its text says, what a short trial shows, what is written."""
