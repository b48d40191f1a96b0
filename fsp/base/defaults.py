"""Defaults that several commands share, in a separate module so that `fsp --help` imports nothing heavy."""

BATCH, LENGTH = 1, 128  # of the sequences whose operations and latency are compared
LONGER = 8  # times the search's steps, for finalists; 4 times still misranks them (experiments/ground_truth)
