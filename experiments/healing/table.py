"""Print errors.csv as a Markdown table: shapes down, variants across."""

from pathlib import Path

import pandas as pd

rows = pd.read_csv(Path(__file__).parent / "errors.csv")
shapes, variants = rows["shape"].drop_duplicates(), rows["variant"].drop_duplicates()
table = rows.pivot_table(index="shape", columns="variant", values="error").loc[shapes, variants]
print("| D,A,H,I | " + " | ".join(variants) + " |")
print("|---" * (1 + len(variants)) + "|")
for shape, values in table.iterrows():
    print(f"| {shape} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
