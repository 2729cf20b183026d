"""Whether deliveries should be sent here, and why not.

* `not_ready` (503): stopping; or deliveries are refused at the moment; or the mapper ended.
* `degraded` (200): deliveries are landed and not mapped, because the queue does not answer.
* `ready` (200).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from feature_repo.ingest.backpressure import Pressure
from feature_repo.ingest.mapper import Mapper


@dataclass
class Health:
    """The state that readiness is told from."""

    pressure: Pressure
    mapper: Mapper
    stopping: bool = False

    def stop(self) -> bool:
        """Say from now on that the server is stopping; whether it had been said before."""
        before, self.stopping = self.stopping, True
        return before

    def is_alive(self) -> bool:
        """False when only a restart helps: the mapper ended by a mistake of ours."""
        return self.stopping or not self.mapper.has_ended

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether to send deliveries, and the document that says why."""
        blocking = ["The server is stopping."] if self.stopping else []
        if not self.is_alive():
            blocking.append("The mapper ended; the log says why. Restart this process.")
        if self.pressure.refusing is not None:
            blocking.append(self.pressure.refusing[1])
        waiting = [
            problem
            for problem in (
                self.mapper.problem,
                self.pressure.queue_problem,
                # Not blocking: only the next delivery can find out that there is room again.
                self.pressure.landing_problem,
            )
            if problem is not None
        ]
        status = "not_ready" if blocking else "degraded" if waiting else "ready"
        return not blocking, {
            "status": status,
            "reasons": [*blocking, *waiting],
            "backlog_bytes": self.mapper.backlog_bytes(),
            "lag_s": round(self.mapper.lag_s(), 3),
        }
