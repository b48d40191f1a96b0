"""Latency of networks: measured in rounds, in several runtimes, and predicted from few measurements."""
