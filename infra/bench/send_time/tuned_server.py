"""What a careful user of Feast would write: async, an explicit list, numpy, one thread, warmed."""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

import lightgbm
import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from feast import FeatureStore

from feature_repo import contract, transforms
from feature_repo.settings import load_settings
from infra.bench.send_time.baseline import BOOSTER, feast_store, stored_refs, tier_of


def make_app(store: FeatureStore, booster: lightgbm.Booster) -> FastAPI:
    """The service."""
    app = FastAPI()
    refs, names = stored_refs(), booster.feature_name()

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/score")
    async def score(request: Request) -> Response:
        ask: dict[str, Any] = orjson.loads(await request.body())
        ids = [customer["customer_id"] for customer in ask["customers"]]
        rows = [{contract.ENTITY: customer} for customer in ids]
        found = (await store.get_online_features_async(refs, rows)).to_dict()
        columns = {
            name: np.array(values, dtype=float)
            for name, values in found.items()
            if name != contract.ENTITY and name not in contract.TEXT_FEATURES
        }
        columns |= transforms.send_time(columns, np.full(len(ids), time.time()))
        matrix = np.column_stack([columns[name] for name in names])
        scores = booster.predict(matrix, num_threads=1).tolist()
        answer = [
            {"customer_id": customer, "score": value, "tier": tier_of(value)}
            for customer, value in zip(ids, scores, strict=True)
        ]
        return Response(orjson.dumps({"target": ask["target"], "scores": answer}))

    return app


def main(port: int) -> None:
    """Serve until stopped."""
    settings = load_settings()
    booster = lightgbm.Booster(model_file=str(settings.home / BOOSTER))
    app = make_app(feast_store(settings), booster)
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app, host="127.0.0.1", port=port, log_level="warning", access_log=False, loop="uvloop"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
