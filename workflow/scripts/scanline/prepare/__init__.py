"""Stage 4, prepare: what a task trains on, the decoded pixel cache first."""
