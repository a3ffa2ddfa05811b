"""Ask the nodes of a job whether a container there can be on its engine's network; what is fine is remembered."""

from __future__ import annotations

from scrun.marks import SAY, texts
from scrun.node_scripts import read_script
from scrun.program import QUIET
from scrun.staging.child import Child
from scrun.staging.children import Children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.staging.known import Known
    from scrun.staging.model import NodeSteps

SCRIPT = SAY + read_script("network")
DEVICE = "/dev/net/tun"


def why_not(step: NodeSteps, known: Known) -> str:
    """Why a node can't have such a container, naming the node; empty where all can, or one doesn't answer.

    What a node lacks although it has not answered, the hooks there say when the container is started.
    """
    if known.have_tun(step.nodes):
        return ""
    answers = _ask(step)
    for node, lack in sorted(answers.items()):
        if lack != "-":
            return f"{node}: {lack}"
    if len(answers) == len(step.nodes):
        known.learn_have_tun(step.nodes)
    return ""


def _ask(step: NodeSteps) -> dict[str, str]:
    def answers(child: Child) -> dict[str, str]:
        said = (text.partition(" ") for text in texts(bytes(child.out)))
        return {node: lack for node, _blank, lack in said}

    with Children(None) as children:
        child = children.step(step, "network", ["sh", "-c", SCRIPT, "sh", DEVICE], stdin=QUIET)
        if children.wait_for(lambda: len(answers(child)) >= len(step.nodes)):
            children.let_go(child)  # the step takes as long again to end
        return answers(child)
