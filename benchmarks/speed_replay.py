"""How well latencies are predicted from few rows of a table, without knowing its structure.

Usage: python benchmarks/speed_replay.py TABLE.csv [--seeds 20] [--out FILE]

The table is that of Hardware-Aware Transformers (mit-han-lab/hardware-aware-transformers, WMT'14 En-De on a Xeon),
which is not part of this project. Prints and writes JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from fsp.trust import replay_speed
from fsp.trust.replay.speed import read_latencies
from fsp.trust.replay.table import read_columns

PARAMETERS = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
TARGETS = ("latency_mean_encoder", "latency_mean_decoder")
SPREADS = ("latency_std_encoder", "latency_std_decoder")
TRAIN = (50, 100, 200, 400, 800, 1600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "speed_replay.json")
    given = parser.parse_args()
    table = read_latencies(given.table, parameters=PARAMETERS, targets=TARGETS)
    measured, _, _ = read_columns(given.table, [*TARGETS, *SPREADS])
    spread = np.hypot(measured[:, 2], measured[:, 3]) / measured[:, :2].sum(axis=1)
    results: list[dict[str, Any]] = []
    for train in TRAIN:
        facts = replay_speed(table, targets=TARGETS, train=train, seeds=given.seeds).describe()
        for name in ("law", "constant", "rows_read", "rows_missing", "rows_merged", "architectures", "seeds"):
            facts.pop(name)
        results.append(facts)
        print(f"{train:>5} rows: MAPE {facts['mape']:.2%}, within 10% {facts['within_10_percent']:.1%}", flush=True)
    result = {
        "table": given.table.stem,
        "architectures": len(table),
        "seeds": given.seeds,
        "median_relative_std_of_the_measurements": float(np.median(spread)),
        "results": results,
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
