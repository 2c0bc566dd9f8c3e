"""How runs are told apart: trained ones by network and seed, ensembles by a name that shows what they are."""

ENSEMBLE_PREFIX = "ensemble"  # names of ensembles begin with it, and no name of a network does
ENSEMBLE_SEED = 0  # in the paths of an ensemble, which has no seed of its own


def is_ensemble(model: str) -> bool:
    """Whether a name in the place of a network's is that of an ensemble."""
    return model.startswith(ENSEMBLE_PREFIX)


def name_seed(model: str, seed: int, members: int | None = None) -> str:
    """What tells a run from others of its name, in words.

    Args:
        model: Name of the network, or of the ensemble.
        seed: Its seed.
        members: Runs in the ensemble, where that is known.

    Examples:
        >>> name_seed("yolov8n", 42)
        'seed 42'
        >>> name_seed("ensemble_yolo", 0, 3)
        'ensemble of 3'
    """
    if not is_ensemble(model):
        return f"seed {seed}"
    return "ensemble" if members is None else f"ensemble of {members}"
