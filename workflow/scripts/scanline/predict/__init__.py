"""Stage 6, predict: raw scores and class activation maps; nothing after it needs the model."""
