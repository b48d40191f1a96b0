"""What inference is counted and timed on unless someone says otherwise: one sequence of 128 tokens."""

BATCH, LENGTH = 1, 128
