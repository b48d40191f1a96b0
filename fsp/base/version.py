"""The version of fsp, recorded in every file that it writes."""

__version__ = "0.1.0.dev0"
