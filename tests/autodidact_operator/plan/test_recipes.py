"""The kinds of run."""

from autodidact_operator.plan.recipes import BY_KIND, RECIPES, graph_of
from support.builders import reft, spec


def test_kinds_and_plurals_are_told_apart() -> None:
    """No two rows share a kind or a plural, and a plural is its kind in lower case."""
    assert len(BY_KIND) == len({recipe.plural for recipe in RECIPES}) == len(RECIPES)
    assert all(recipe.plural == f"{recipe.kind.lower()}s" for recipe in RECIPES)


def test_the_origin_reaches_a_fork_alone() -> None:
    """A run with a parent starts from the parent's model; of another the origin changes nothing."""
    origin = f"train-dpo-{32 * '0'}"
    plain = BY_KIND["SelfRewardRun"]
    fork = spec(**{"from": {"run": "llama", "iteration": 1}})
    assert graph_of(plain, spec(), "salt", origin) == graph_of(plain, spec(), "salt", "")
    assert graph_of(plain, fork, "salt", origin) != graph_of(plain, fork, "salt", origin[:-1] + "1")
    assert graph_of(BY_KIND["ReFTRun"], reft(), "salt", "").stages
