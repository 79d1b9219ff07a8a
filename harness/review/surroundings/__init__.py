"""Rules on what stands around the code: requirements, Dockerfiles, scripts (REP6xx)."""
