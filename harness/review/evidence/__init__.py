"""Rules on what runs left behind (REP7xx, REP8xx)."""
