"""Stage 5, train: the engines, the model families and the model store."""
