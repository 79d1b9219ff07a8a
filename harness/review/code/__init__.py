"""Rules on Python source (REP1xx to REP5xx)."""
