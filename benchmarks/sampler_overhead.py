"""Time FPTASSampler's and Optuna TPE's trials on bert_large, in memory, interleaved; prints one JSON object.

Both get the same trials of the same objective, which costs nothing, so a trial's time is the proposal and the
bookkeeping. FPTASSampler is timed with the space given and with the space found out from the trials.
"""

import json
import statistics
import time

import optuna

import fsp

TRIALS = 300
ROUNDS = 5


def main() -> None:
    space = fsp.load_space("bert_large")

    def objective(trial: optuna.Trial) -> float:
        shape = {name: trial.suggest_categorical(name, choices) for name, choices in space.parameters.items()}
        return 1 / (shape["D"] * shape["H"] * (1000 + shape["I"])) + shape["A"] * 1e-12

    def valid(shape: dict[str, int]) -> bool:
        return shape["H"] % shape["A"] == 0

    samplers = {
        "fptas": lambda seed: fsp.FPTASSampler(space, seed=seed),
        "fptas_undeclared": lambda seed: fsp.FPTASSampler(is_valid=valid, seed=seed),
        "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    times: dict[str, list[float]] = {name: [] for name in samplers}
    distinct: dict[str, list[int]] = {name: [] for name in samplers}
    invalid: dict[str, list[int]] = {name: [] for name in samplers}
    for seed in range(ROUNDS):
        for name, sampler in samplers.items():
            start = time.perf_counter()
            study = optuna.create_study(sampler=sampler(seed))
            study.optimize(objective, n_trials=TRIALS)
            times[name].append((time.perf_counter() - start) / TRIALS * 1000)
            shapes = [trial.params for trial in study.trials]
            distinct[name].append(len({tuple(sorted(shape.items())) for shape in shapes}))
            invalid[name].append(sum(not valid(shape) for shape in shapes))
    print(
        json.dumps(
            {
                "space": space.name,
                "candidates": len(space.candidates),
                "trials": TRIALS,
                "rounds": ROUNDS,
                "optuna": optuna.__version__,
                "milliseconds_per_trial": {name: round(statistics.median(t), 3) for name, t in times.items()},
                "all_rounds": {name: [round(ms, 3) for ms in t] for name, t in times.items()},
                "distinct": distinct,
                "invalid": invalid,
            }
        )
    )


if __name__ == "__main__":
    main()
