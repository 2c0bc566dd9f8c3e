"""Stage 7, evaluate: metrics with patient-level intervals, on arrays and data frames."""
