"""The kinds of run: adding one is a row here, its spec in the contract and its graph in plan."""

from collections.abc import Callable
from dataclasses import dataclass

from autodidact_contract.api.reft import ReFTSpec
from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs import reft, selfreward
from autodidact_operator.plan.types import Graph


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A kind of run.

    Attributes:
        graph: Takes the parsed spec and the run's salt; and the artifact that the run starts from,
            where the spec has a parent.
    """

    kind: str
    plural: str
    spec: type[RunSpec]
    graph: Callable[..., Graph]


RECIPES = (
    Recipe(
        kind="SelfRewardRun",
        plural="selfrewardruns",
        spec=SelfRewardSpec,
        graph=selfreward.graph,
    ),
    Recipe(kind="ReFTRun", plural="reftruns", spec=ReFTSpec, graph=reft.graph),
)

BY_KIND = {recipe.kind: recipe for recipe in RECIPES}


def graph_of(recipe: Recipe, spec: RunSpec, salt: str, origin: str) -> Graph:
    """Returns a run's graph.

    Args:
        recipe: Its kind.
        spec: Its spec.
        salt: Different for each run; part of the keys of imports whose content may change.
        origin: Artifact that it starts from, if the spec has a parent.
    """
    return recipe.graph(spec, salt, origin) if spec.parent else recipe.graph(spec, salt)
