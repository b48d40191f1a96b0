"""Fine-tuning text classifiers with scarce data: Agora, its parts as pure functions, and its rivals."""
