"""A text that speaks of `# harness: allow REP101` and is none."""

HELP = "write `# harness: allow REP101 <reason>` on the line"
print(HELP)
