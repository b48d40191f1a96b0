"""Losses, teacher outputs and the training loop; used by the error surrogate and by distillation alike."""
