from autodidact_operator.plan.recipes import BY_KIND
from tools.paths import EXAMPLES

EXAMPLE = EXAMPLES / "selfreward-toy.yaml"


RECIPE = BY_KIND["SelfRewardRun"]


OPENED = ("toy://",)
