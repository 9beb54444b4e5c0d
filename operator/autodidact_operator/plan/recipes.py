"""The graph of each kind of run."""

from collections.abc import Callable
from dataclasses import dataclass

from autodidact_contract.api import kinds
from autodidact_contract.api.kinds import Kind
from autodidact_contract.api.run import RunSpec
from autodidact_operator.plan.graphs import reft, selfreward
from autodidact_operator.plan.types import Graph


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A kind of run and its graph.

    Attributes:
        row: What the contract says of the kind.
        graph: Takes the parsed spec and the run's salt; and the artifact that the run starts from,
            where the spec has a parent.
    """

    row: Kind
    graph: Callable[..., Graph]

    @property
    def kind(self) -> str:
        """Name of the kind in manifests."""
        return self.row.kind

    @property
    def plural(self) -> str:
        """Name of the resource."""
        return self.row.plural

    @property
    def spec(self) -> type[RunSpec]:
        """Schema of the manifests."""
        return self.row.spec


RECIPES = (
    Recipe(row=kinds.SELF_REWARD, graph=selfreward.graph),
    Recipe(row=kinds.REFT, graph=reft.graph),
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
