"""What a user of Feast and MLflow would write: FastAPI, `get_online_features`, a pyfunc model.

The request-time view is computed in one vectorised call beside Feast, not as an on-demand view:
that would cost this baseline another ten milliseconds a call.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import mlflow.pyfunc
import pandas as pd
import uvicorn
from fastapi import FastAPI
from feast import FeatureStore
from pydantic import BaseModel

from feature_repo import contract, transforms
from feature_repo.settings import load_settings
from infra.bench.send_time.baseline import PYFUNC, feast_store, stored_refs, tier_of


class Customer(BaseModel):
    """One recipient."""

    customer_id: str


class ScoreRequest(BaseModel):
    """Customers to score."""

    target: str
    customers: list[Customer]


class Score(BaseModel):
    """One answer."""

    customer_id: str
    score: float
    tier: str


class ScoreResponse(BaseModel):
    """All answers."""

    target: str
    scores: list[Score]


def make_app(store: FeatureStore, model: Any) -> FastAPI:
    """The service."""
    app = FastAPI()
    refs, names = stored_refs(), model.metadata.signature.inputs.input_names()

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/score")
    def score(request: ScoreRequest) -> ScoreResponse:
        ids = [customer.customer_id for customer in request.customers]
        rows = [{contract.ENTITY: customer} for customer in ids]
        frame = store.get_online_features(refs, rows).to_df()
        columns = {
            name: pd.to_numeric(frame[name]).to_numpy(dtype=float)
            for name in transforms.SEND_TIME_INPUTS
        }
        now = [time.time()] * len(ids)
        at_send = pd.DataFrame(transforms.send_time(columns, now), index=frame.index)
        features = pd.concat([frame, at_send], axis=1)[names]
        scores = model.predict(features.astype(float))
        return ScoreResponse(
            target=request.target,
            scores=[
                Score(customer_id=customer, score=value, tier=tier_of(value))
                for customer, value in zip(ids, scores, strict=True)
            ],
        )

    return app


def main(port: int) -> None:
    """Serve until stopped."""
    settings = load_settings()
    model = mlflow.pyfunc.load_model(str(settings.home / PYFUNC))
    app = make_app(feast_store(settings), model)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
