"""The table of peers."""

from __future__ import annotations

import importlib.util

from tests.benchmark.peers.contract import CaseFacts, Mode, Peer
from tests.benchmark.peers.onnxruntime_peers import ORT_PEERS
from tests.benchmark.peers.openvino_peers import OPENVINO_PEERS
from tests.benchmark.peers.our_peers import OUR_PEERS
from tests.benchmark.peers.torch_peers import TORCH_PEERS

__all__ = ["PEERS", "reason_not_to_run"]

PEERS = {peer.name: peer for peer in (*TORCH_PEERS, *ORT_PEERS, *OPENVINO_PEERS, *OUR_PEERS)}
"""Every peer by its name, in the order of reports."""


def reason_not_to_run(peer: Peer, facts: CaseFacts, mode: Mode) -> str | None:
    """Reason why a peer does not run a case in a mode; None where it runs.

    Args:
        peer: The peer.
        facts: Facts of the case.
        mode: The mode.
    """
    missing = [name for name in peer.modules if importlib.util.find_spec(name) is None]
    if missing:
        return f"package {missing[0]} is not installed; {peer.install}"
    return peer.cannot(facts, mode)
