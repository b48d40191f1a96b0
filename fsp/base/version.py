"""The version of fsp, which every file it writes names."""

__version__ = "0.1.0.dev0"
