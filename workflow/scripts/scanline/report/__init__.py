"""Stage 8, report: one self-contained page a study, from tables and metrics only."""
