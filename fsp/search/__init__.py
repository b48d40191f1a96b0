"""Which candidates to evaluate, and which of the evaluated ones to choose."""
