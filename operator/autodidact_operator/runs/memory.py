"""What the operator remembers of each run, only to be faster: if it is lost, nothing goes wrong."""

from collections.abc import Iterable

from autodidact_contract.api.status import RunStatus
from autodidact_operator.cluster.resources import Body
from autodidact_operator.plan.recipes import Recipe, graph_of
from autodidact_operator.plan.types import Graph, Run
from autodidact_operator.runs.specs import interpret
from autodidact_operator.settings import Settings

_DETAIL = ("stage", "progress", "eta", "stages")


def only_detail(before: RunStatus, after: RunStatus) -> bool:
    """Returns whether a new status differs only in details, whose write can wait.

    What was done, counted or decided is written at once. Details are that a stage's pod runs now,
    and how far it is. With short stages they would be most of the operator's writes, and each write
    would delay the next decision.
    """
    return after.model_copy(update={name: getattr(before, name) for name in _DETAIL}) == before


class Memory:
    """What is remembered of each run.

    Args:
        settings: The operator's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._interpreted: dict[str, tuple[int, Run]] = {}
        self._graphs: dict[str, tuple[int, str, Graph]] = {}
        self._written_at: dict[str, float] = {}

    def interpreted(self, recipe: Recipe, body: Body) -> Run:
        """Returns a run object as the planner's run, worked out once per generation.

        Raises:
            RefusedError: As for ``interpret``.
        """
        uid, generation = body["metadata"]["uid"], body["metadata"]["generation"]
        known = self._interpreted.get(uid)
        if known is None or known[0] != generation:
            run = interpret(recipe, body, self._settings.import_prefixes)
            known = self._interpreted[uid] = (generation, run)
        return known[1]

    def graph(self, recipe: Recipe, run: Run, origin: str) -> Graph:
        """Returns a run's graph, worked out once per generation and origin."""
        uid = run.ref.uid
        known = self._graphs.get(uid)
        if known is None or known[:2] != (run.generation, origin):
            graph = graph_of(recipe, run.spec, uid, origin)
            known = self._graphs[uid] = (run.generation, origin, graph)
        return known[2]

    def wrote(self, uid: str, now: float) -> None:
        """Notes that a run's status was written."""
        self._written_at[uid] = now

    def seconds_to_write(self, uid: str, now: float) -> float:
        """Returns in how many seconds details may be written; not above 0 if they may be now."""
        written_at = self._written_at.get(uid)
        return 0.0 if written_at is None else written_at + self._settings.status_seconds - now

    def keep(self, uids: Iterable[str]) -> None:
        """Forgets all other runs."""
        wanted = set(uids)
        self._interpreted = {u: known for u, known in self._interpreted.items() if u in wanted}
        self._graphs = {u: known for u, known in self._graphs.items() if u in wanted}
        self._written_at = {u: at for u, at in self._written_at.items() if u in wanted}
