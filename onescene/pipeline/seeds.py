"""The largest seed of everything; apart from all else, as the command line names it before anything is imported."""

MOST_SEED = 2**32 - 1  # what every generator takes, multiplied and counted up as well
