"""Pretraining by knowledge distillation, from a laptop to many GPUs.

The flow of data, each step a pure function of what is before it:

    text sources ─> documents ─> token stream on disk ─> blocks in a pseudo-random order ─> masked batch
    masked batch ─> student, teacher (or its cache) ─> losses at the masked positions ─> AdamW ─> checkpoints

Which block comes when, what is masked in it and which units drop out depend on (seed, step) alone, so the data
position of a checkpoint is one number and any number of processes see the same batches.
"""
