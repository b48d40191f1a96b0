"""The Pareto fronts of a finished run as a figure: all three pairs of size, speed and error.

Prints the path of the picture, which is written to a temporary folder.
"""

import tempfile
from pathlib import Path

from fsp.report import figures

RUN = Path(__file__).parents[1] / "experiments" / "minilm"

axes = figures.pareto_pairs(RUN)
path = Path(tempfile.mkdtemp()) / "pareto.png"
axes[0].figure.savefig(path)
print(f"{len(axes)} fronts: {path}")
