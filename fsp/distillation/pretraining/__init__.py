"""Pretraining by knowledge distillation, from a laptop to many GPUs.

The flow of data, in which each step is a pure function of the step before:

    text sources ─> documents ─> token stream on disk ─> blocks in a pseudo-random order ─> masked batch
    masked batch ─> student, teacher (or its cache) ─> losses at the masked positions ─> AdamW ─> checkpoints

The order of the blocks, their masks and dropout depend on (seed, step) only, so a checkpoint stores its position in
the data as one number, and any number of processes see the same batches.
"""
