"""The Pareto fronts of a finished run, as a figure: size, speed and error, all three pairs.

Prints where the picture is; it is written to a temporary folder.
"""

import tempfile
from pathlib import Path

from fsp.report import figures

RUN = Path(__file__).parents[1] / "experiments" / "minilm"

axes = figures.pareto_pairs(RUN)
path = Path(tempfile.mkdtemp()) / "pareto.png"
axes[0].figure.savefig(path)
print(f"{len(axes)} fronts: {path}")
