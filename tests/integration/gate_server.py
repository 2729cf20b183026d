"""A server behind a gate whose every answer costs something; at its end it says what it counted."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from feature_repo.listening import Manners, listen, run
from feature_repo.logs import configure_logs
from serving.admission.gate import Budget, Gate
from serving.admission.gated import gate_protocol


class CostlyApp:
    """Waits as for a store, then works as a model does."""

    def __init__(self) -> None:
        self.in_hand = self.most_in_hand = self.answered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        await receive()
        await asyncio.sleep(0.001)
        sum(range(2_000))
        length = (b"content-length", b"2")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b"ok"})
        self.answered += 1
        self.in_hand -= 1


def main() -> None:
    """Serve until SIGTERM."""
    configure_logs()
    gate = Gate(singles=Budget(int(sys.argv[1])), bulk=Budget(1))
    app = CostlyApp()
    listening = listen("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    manners = Manners(shutdown_s=10.0, bounds=gate.bounds)
    run(app, listening, manners, stopping=lambda: False, protocol=gate_protocol(gate))
    counts = {
        "answered": app.answered,
        "most_in_hand": app.most_in_hand,
        "admitted": gate.singles.admitted,
        "refused": gate.singles.refused,
        "in_flight": gate.singles.in_flight,
    }
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
