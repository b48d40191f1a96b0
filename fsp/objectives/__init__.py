"""The three objectives: size p(f), speed i(f), error e(f)."""
