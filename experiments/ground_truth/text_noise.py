"""The noise of the truth by the text it is measured on, and the card's ceilings with it: minutes, no long training.

    python experiments/ground_truth/text_noise.py    # after fsp error card; changes search_spaces/minilm.card.json

Eight of the recorded shapes, cut out of T, trained for 16 steps, and measured on 16 parts of the test text, as
`fsp error card` does it since its ceilings count the text. Correlations, their intervals, the coverage of the anchors'
intervals and the ceilings are computed again from card.csv; nothing else of the card is touched. Readouts and steps see
16,384 training tokens instead of the card's 262,144, which changes the errors but hardly how they depend on the text.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fsp import load_space
from fsp.base import Bars
from fsp.distillation.inputs import fitted_to, load_inputs, surrogate
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.source import Source
from fsp.objectives import objectives_at
from fsp.trust import rank
from fsp.trust.card import _anchored, _few, _fitted_quality, text_noise_of

HERE = Path(__file__).parent
CARD = HERE.parents[1] / "search_spaces" / "minilm.card.json"
SPACE = load_space("minilm")


def measured(table: pd.DataFrame, steps: int) -> float | None:
    settings = SurrogateSettings(steps=steps, tokens=16_384, threads=1, held_out_tokens=16_384)
    inputs = load_inputs(SPACE, Source(), Bars(), task="states")
    fitted_to(SPACE, inputs.teacher)
    shapes = SPACE.architectures(table[list(SPACE.names)].to_numpy())
    with tempfile.TemporaryDirectory() as cache:
        return text_noise_of(surrogate(inputs, settings, Path(cache), Bars()), _few(shapes))


def main() -> None:
    torch.set_num_threads(1)
    table, card = pd.read_csv(HERE / "card.csv"), json.loads(CARD.read_text(encoding="utf-8"))
    text = measured(table, card["steps"])
    print(f"text: {text:.3%} of the error, seeds: {card['noise']:.3%}")
    maximum = objectives_at(SPACE, SPACE.maximum)
    rankings = rank(
        {name: table[name] for name in card["rankings"]},
        table["truth"],
        table["encoder_parameters"],
        speed=table["operations"],
        maximum=(maximum["encoder_parameters"], maximum["operations"]),
        noise=np.hypot(card["noise"] / np.sqrt(table["trainings"]), text),
    )
    card["rankings"] = {name: found.describe() for name, found in rankings.items()}
    for short in card["anchored"]:
        card["anchored"][short] = _anchored(SPACE, table, short)[1]
    card["fitted"] = _fitted_quality(SPACE, table, f"s={card['steps']}")
    entries = list(card.items())
    after = [name for name, _ in entries].index("noise") + 1
    entries = [entry for entry in entries if entry[0] != "text_noise"]
    CARD.write_text(json.dumps(dict([*entries[:after], ("text_noise", text), *entries[after:]]), indent=1) + "\n")


if __name__ == "__main__":
    main()
