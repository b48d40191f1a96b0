"""A finished run in small, made by hand."""

import json

import pytest

TABLE = """D,A,H,I,parameters,embedding_parameters,encoder_parameters,operations,error,w_total,w_encoder,seed,seconds,failure
1,2,16,16,500,100,400,1000,0.9,0.8,0.7,0,1.0,
2,2,16,32,700,100,600,2000,0.5,1.1,1.0,0,1.5,
2,2,16,16,650,100,550,1800,,,,0,0.5,<b>loss nan</b> & more
"""


def model(name, shape, share):
    spread = {"mean": 0.5 * share, "half_width_95": None, "values": [0.5 * share]}
    return {
        "name": name,
        "architecture": shape,
        "parameters": int(1500 * share),
        "embedding_parameters": 100,
        "encoder_parameters": int(1400 * share),
        "operations": int(6000 * share),
        "readout_parameters": 10,
        "latency": {
            "median_ms": 10 * share,
            "lower_quartile_ms": 9 * share,
            "upper_quartile_ms": 11 * share,
            "repeats": 5,
        },
        "error": spread,
        "spearman": spread,
        "cosine": spread,
        "pooled_error": spread,
    }


@pytest.fixture
def folder(tmp_path):
    choice = {"D": 2, "A": 2, "H": 16, "I": 32}
    w = {
        "architecture": {"D": 1, "A": 2, "H": 16, "I": 16},
        "w": 0.8,
        "error": 0.9,
        "error_ratio": 1.8,
        "at_lower_edge_in": ["D"],
    }
    result = {
        "schema": 1,
        "fsp": "0",
        "config": {
            "space": {
                "name": "<i>toy</i>",
                "parameters": {"D": [1, 2, 3], "H": [8]},
                "rules": [],
                "maximum": {"D": 4, "H": 8},
            },
            "teacher": {"name": "<script>alert(1)</script>"},
            "tokens": 4096,
            "seeds": 1,
        },
        "search": {
            "interval": 2,
            "candidates": 9,
            "feasible": 6,
            "evaluated": 3,
            "failed": 1,
            "limits": {"operations": 3000.0},
        },
        "selected": choice,
        "search_error": 0.5,
        "w_choice": {"total": w, "encoder": w},
        "models": [model("T", {"D": 3, "A": 4, "H": 32, "I": 64}, 1.0), model("choice", choice, 0.4)],
        "held_out": {"test_blocks": 10, "sentences": 50},
        "environment": {"processor": "p", "threads": 1, "runtime": "r", "python": "3"},
        "seconds": 1.0,
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "evaluations.csv").write_text(TABLE)
    return tmp_path
