"""Stage 8, figures: pictures from tables and metrics only."""
