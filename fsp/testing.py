"""Contracts of families and search methods, for the tests of third parties that write their own.

A test class inherits a contract and names the object to test; a test runner such as pytest finds its methods.
This module itself needs no test runner.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError, RunFailed
from fsp.families.architecture import Architecture
from fsp.objectives.counts import operations, sizes
from fsp.search.candidates import Candidates, Method
from fsp.spaces.space import SearchSpace, family_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fsp.distillation.cutting import Cutter
    from fsp.families.family import Family


class FamilyContract:
    """The contract of every family of networks (`fsp.families.family.Family`).

    Attributes:
        space: a small search space of the family, with its constants. T and all candidates are built, and if the
            family has an anatomy, the candidates are cut out of T. So T should have at most some hundred units, and
            every cut must be possible.
        length: tokens per sample; a family without tokens ignores it.
        most_operations: largest allowed ratio of the operations to those that torch's FLOP counter counts. It counts
            only matrix products; norms, activations and sums add a share that is larger for smaller networks.

    Example:
        >>> class TestMLP(FamilyContract):
        ...     space = SearchSpace("small", {"D": (1, 2), "H": (8,)}, (), {"D": 3, "H": 16}, "mlp",
        ...                         {"inputs": 4, "outputs": 2})
        >>> TestMLP().test_the_cut_at_full_size_computes_what_t_does()
    """

    space: SearchSpace
    length: int = 32
    most_operations: float = 1.25

    def inputs(self, batch: int) -> "dict[str, torch.Tensor]":
        """Return random arguments of a forward pass; integers below the constant `vocabulary`."""
        import torch

        zeros = self.family.inputs(self.space.constants, batch=batch, length=self.length)
        generator, most = torch.Generator().manual_seed(0), self.space.constants.get("vocabulary", 1)
        return {
            name: torch.randn(value.shape, generator=generator)
            if value.is_floating_point()
            else torch.randint(most, value.shape, generator=generator)
            for name, value in zeros.items()
        }

    @property
    def family(self) -> "Family":
        """The family of the space."""
        return family_of(self.space)

    @property
    def shapes(self) -> list[Architecture]:
        """T and all candidates."""
        full = self.space.maximum
        assert isinstance(full, Architecture)
        return [full, *self.space.architectures(self.space.candidates)]

    def trained(self) -> "nn.Module":
        """Return T with random values added to all weights, so that every wrong index shows."""
        import torch

        generator = torch.Generator().manual_seed(1)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = self.family.build(self.space.maximum, self.space.constants).eval()
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
        return network

    def output(self, network: "nn.Module") -> "torch.Tensor":
        """Return the output of a network; of several outputs, the first."""
        import torch

        with torch.no_grad():
            found = network(**self.inputs(batch=3))
        return found if isinstance(found, torch.Tensor) else found[0]

    def cutter(self, network: "nn.Module") -> "Cutter":
        """Return what cuts candidates out of T, with random inputs."""
        from fsp.distillation.cutting import Cutter

        return Cutter(network, self.family, self.inputs(batch=8))

    def _assert_is(self, network: Any, shape: Mapping[str, int]) -> None:
        found, constants = self.family.architecture_of(network.config), self.family.constants_of(network.config)
        assert found == shape, f"the config of {shape} gives the architecture {found}"
        assert constants == self.space.constants, f"the config of {shape} gives the constants {constants}"

    def test_a_network_is_counted_as_it_is_built_and_tells_what_it_was_built_as(self) -> None:
        """For T and every candidate, built without memory for weights; `config` gives architecture and constants."""
        import torch

        for shape in self.shapes:
            with torch.device("meta"):
                network = self.family.build(shape, self.space.constants)
            built = sum(weight.numel() for weight in network.parameters())
            counted = {name: int(count[0]) for name, count in sizes(self.space, self.space.point(shape)).items()}
            assert counted["parameters"] == built, f"{shape}: {counted['parameters']:,} counted, {built:,} built"
            parts = counted["embedding_parameters"] + counted["encoder_parameters"]
            assert min(counted.values()) >= 0, f"{shape}: {counted}"
            assert parts == built, f"{shape}: embeddings and encoder have {parts:,} of {built:,}"
            self._assert_is(network, shape)

    def test_operations_are_those_of_torch_and_little_more(self) -> None:
        """For T and every candidate, at two batch sizes."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        for shape in self.shapes:
            for batch in (1, 3):
                with torch.device("meta"), torch.no_grad():
                    network = self.family.build(shape, self.space.constants).eval()
                    given = self.family.inputs(self.space.constants, batch=batch, length=self.length)
                    with FlopCounterMode(display=False) as counter:
                        network(**given)
                seen, point = counter.get_total_flops(), self.space.point(shape)
                counted = int(operations(self.space, point, batch=batch, length=self.length)[0])
                assert seen <= counted <= self.most_operations * seen, (
                    f"{shape}: {counted:,} counted, torch sees {seen:,}"
                )

    def test_closed_forms_take_columns_and_leave_them_alone(self) -> None:
        """Columns of many shapes give the same int64 counts as each shape alone."""
        space, family = self.space, self.family
        given = {"batch": 2, "length": self.length}
        columns = space.columns(space.candidates)
        before = {name: column.copy() for name, column in columns.items()}
        together = {
            **family.parameters(columns, space.constants),
            "operations": family.operations(columns, space.constants, **given),
        }
        for name, column in columns.items():
            assert (column == before[name]).all(), f"{name} was changed"
        for name, counts in together.items():
            assert counts.dtype == np.int64, f"{name} are {counts.dtype}"
        for k, shape in enumerate(space.architectures(space.candidates)):
            alone = {
                **family.parameters(shape, space.constants),
                "operations": family.operations(shape, space.constants, **given),
            }
            for name, count in alone.items():
                assert int(count) == together[name][k], (
                    f"{name} of {shape}: {count} alone, {together[name][k]} in columns"
                )

    def test_networks_of_other_families_are_refused(self) -> None:
        """Configurations of other networks raise InputError."""
        for config in (SimpleNamespace(), SimpleNamespace(model_type="another")):
            for function in (self.family.architecture_of, self.family.constants_of):
                _assert_refused(partial(function, config), f"the configuration {config}")

    def test_the_cut_at_full_size_computes_what_t_does(self) -> None:
        """With healing and without; the cut is a separate network."""
        import torch

        network = self.trained()
        wanted = self.output(network)
        for heal, most in ((False, 1e-5), (True, 5e-3)) if self.family.anatomy else ():
            copy = self.cutter(network).cut(self.space.maximum, heal=heal).network
            assert copy is not network
            missed = float(torch.linalg.vector_norm(self.output(copy) - wanted) / torch.linalg.vector_norm(wanted))
            assert missed <= most, f"the {'healed ' * heal}cut at full size differs from T by {missed:.2g}"

    def test_cuts_have_their_shape_and_leave_t_alone(self) -> None:
        """Every candidate can be cut out of T and runs in evaluation mode; without healing it has copies of weights.

        Where heads are merged or split, weights are new.
        """
        import torch

        network, family, anatomy = self.trained(), self.family, self.family.anatomy
        if anatomy is None:
            return
        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        values = torch.cat([weight.flatten() for weight in before.values() if weight.is_floating_point()])
        places = {weight.data_ptr() for weight in network.parameters()}
        cutter, full = self.cutter(network), self.space.maximum
        for shape in self.shapes[1:]:
            for heal in (False, True):
                cut = cutter.cut(shape, heal=heal).network
                self._assert_is(cut, shape)
                assert not cut.training, f"the cut {shape} is in training mode"
                for name, weight in cut.named_parameters():
                    assert weight.data_ptr() not in places, f"{name} of the cut {shape} shares T's memory"
                    new = heal or anatomy.resizes_heads(full, shape)
                    assert new or torch.isin(weight, values).all(), f"{name} of the cut {shape} has weights not of T"
                weights = sum(weight.numel() for weight in cut.parameters())
                assert weights == int(family.parameters(shape, self.space.constants)["parameters"]), str(shape)
                assert self.output(cut).isfinite().all(), f"the cut {shape} computes numbers that are not finite"
        self._assert_is(network, full)
        for name, weight in network.state_dict().items():
            assert (before[name] == weight).all(), f"cutting changed {name} of T"

    def test_shapes_that_cannot_be_cut_are_refused(self) -> None:
        """Shapes that exceed T in one parameter, lack a parameter or have an unknown one raise InputError."""
        anatomy, full = self.family.anatomy, dict(self.space.maximum)
        first = next(iter(full))
        wrong = [{**full, name: value + 1} for name, value in full.items()]
        for shape in [*wrong, {**full, "other": 1}, {name: full[name] for name in full if name != first}]:
            if anatomy is not None:
                _assert_refused(partial(anatomy.check, full, shape), f"the cut {shape}")


class MethodContract:
    """The contract of every search method (`fsp.search.candidates.Method`).

    Attributes:
        method: the search method.
        complete: whether it evaluates all rows if the budget allows. An incomplete method may stop earlier, and must
            find the best row at least where no larger row has a larger error.
        rows: number of rows of the tables in the tests; reduce it for a slow method.

    Example:
        >>> def backwards(candidates, evaluations, seed):
        ...     for row in reversed(range(len(candidates))):
        ...         error = yield row
        >>> class TestBackwards(MethodContract):
        ...     method = backwards
        >>> TestBackwards().test_it_ends_when_all_rows_are_evaluated()
    """

    method: Method
    complete: bool = True
    rows: int = 25

    def asked(self, candidates: Candidates, errors: NDArray[np.float64], evaluations: int, seed: int = 0) -> list[int]:
        """Return the rows that the method evaluates in a search of `evaluations` evaluations, in order."""
        method = inspect.getattr_static(self, "method")  # keeps a function in the class body from being bound
        proposals = method(candidates, evaluations, seed)
        found: list[int] = []
        try:
            row = next(proposals)
            while len(found) < evaluations:
                found.append(row)
                row = proposals.send(float(errors[row]))
            proposals.close()
        except StopIteration:
            pass
        except RunFailed:
            assert np.isnan(errors[found]).all(), "it gave up although an evaluation had succeeded"
        return found

    def tables(self) -> Iterator[tuple[Candidates, NDArray[np.float64]]]:
        """Yield candidates and their errors, for the least error and for W; no larger row has a larger error."""
        for seed, rows in enumerate((self.rows, self.rows, 1)):
            generator = np.random.default_rng(seed)
            points = generator.uniform(1, 100, size=(rows, 3))
            size = points.prod(axis=1)
            for maximum in (None, (size.max(), 2 * size.max() ** 0.9)):
                for values in (points, size):
                    values.setflags(write=False)
                yield Candidates(points, size, size**0.9, maximum, np.zeros(3, dtype=bool), ("a", "b", "c")), size**-0.2

    def test_it_asks_for_rows_that_exist_and_for_none_twice(self) -> None:
        """For several budgets, on read-only tables."""
        for candidates, errors in self.tables():
            for evaluations in {1, 2, self.rows // 2, self.rows}:
                found = self.asked(candidates, errors, evaluations)
                assert 1 <= len(found) <= evaluations
                assert set(found) <= set(range(len(candidates))), f"{found} of {len(candidates)} rows"
                assert len(set(found)) == len(found), f"a row twice in {found}"

    def test_a_seed_repeats_the_search(self) -> None:
        """The same rows in the same order."""
        for candidates, errors in self.tables():
            for seed in (0, 1):
                once, again = (self.asked(candidates, errors, self.rows, seed) for _ in range(2))
                assert once == again

    def test_failed_evaluations_are_passed_over(self) -> None:
        """A failed evaluation has the error NaN. A method may raise RunFailed if all have failed."""
        for candidates, errors in self.tables():
            for failed in (np.arange(len(errors)) % 3 == 0, errors == errors.min(), np.ones(len(errors), dtype=bool)):
                found = self.asked(candidates, np.where(failed, np.nan, errors), self.rows)
                assert len(set(found)) == len(found)
                assert not self.complete or len(found) == len(candidates)

    def test_the_order_and_names_of_parameters_do_not_matter(self) -> None:
        """The columns may come in any order, as the parameters of a search space do."""
        for candidates, errors in self.tables():
            columns, names = candidates.parameters[:, ::-1], candidates.names[::-1]
            gain = candidates.maximum
            turned = Candidates(columns, candidates.size, candidates.speed, gain, candidates.neutral, names)
            assert self.asked(turned, errors, self.rows) == self.asked(candidates, errors, self.rows)

    def test_it_ends_when_all_rows_are_evaluated(self) -> None:
        """A budget larger than the number of rows is allowed."""
        for candidates, errors in self.tables():
            found = self.asked(candidates, errors, len(candidates) + 5)
            assert len(found) <= len(candidates)
            assert not self.complete or sorted(found) == list(range(len(candidates)))

    def test_a_budget_of_all_rows_finds_the_best(self) -> None:
        """The best has the least error; for a complete method also the largest W, and with errors in any order."""
        for candidates, errors in self.tables():
            shuffled = np.random.default_rng(0).permutation(errors)
            for given in (errors, shuffled) if self.complete else (errors,) if candidates.gain is None else ():
                scores = [candidates.score(row, error) for row, error in enumerate(given)]
                found = self.asked(candidates, given, len(candidates))
                assert max(scores[row] for row in found) == max(scores)


def _assert_refused(action: Callable[[], Any], what: str) -> None:
    try:
        action()
    except InputError:
        return
    raise AssertionError(f"{what} was not refused with InputError")
