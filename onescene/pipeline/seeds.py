"""What a seed may be; apart from all else, as the command line names the largest before anything is imported."""

MOST_SEED = 2**32 - 1  # what every generator takes, multiplied and counted up as well


def check_seeds(seeds: object, where: str, most: int = MOST_SEED) -> list[int]:
    """The seeds of an ablation's params file.

    Args:
        seeds: What stands there; None = nothing.
        where: The file's name.
        most: The largest one.

    Raises:
        ValueError: not a list of whole numbers from 0 to ``most``, or one of them twice.
    """
    whole = isinstance(seeds, list) and all(type(seed) is int and 0 <= seed <= most for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        limit = f"whole numbers from 0 to {most}, each once"
        raise ValueError(f"{where}: seeds must be a list of {limit}, such as [0, 1], got {seeds!r}")
    return seeds
