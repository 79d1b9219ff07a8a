"""Everything that is written or declared, as typed values. Pure: no clock, files, processes, network or randomness."""
