"""Numbers that several commands have as defaults; a module of its own, so that `fsp --help` loads nothing heavy."""

BATCH, LENGTH = 1, 128  # of the sequences whose operations and latency are compared
LONGER = 8  # times the search's steps for finalists; half as many still misrank (experiments/ground_truth)
