"""What the baselines share: Feast with its own Redis store, the model as MLflow saves it, tiers."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from pathlib import Path
from typing import Any, Final

from feature_repo import contract, transforms
from feature_repo.settings import Settings
from infra.bench.send_time.world import FEATURES, TIERS, World

PYFUNC: Final = "pyfunc"
BOOSTER: Final = "booster.txt"


def stored_refs() -> list[str]:
    """The stored columns that the model and the request-time view need."""
    needed = {*FEATURES, *transforms.SEND_TIME_INPUTS}
    columns = ((view, name) for view, names in contract.VIEWS.items() for name in names)
    return [f"{view}:{name}" for view, name in columns if name in needed]


def tier_of(score: float) -> str:
    """The tier of a score."""
    return TIERS.names[bisect_right(TIERS.cuts, score)]


def feast_store(settings: Settings) -> Any:
    """Feast over the bench's Redis, with its own store and what `prepare` applied."""
    from infra.bench.stock_feast import bare_store

    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    return bare_store(settings.project, settings.home / "stock.db", url)


def prepare(world: World) -> None:
    """Apply the views to a registry of stock Feast, and save the booster as MLflow would."""
    import lightgbm
    import mlflow.lightgbm
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from infra.bench.stock_feast import stock_store

    settings = world.settings
    assert settings.redis_url is not None
    stock_store(settings, settings.redis_url.get_secret_value())
    text = world.model.estimator.texts()["booster.txt"]
    (settings.home / BOOSTER).write_text(text)
    columns = [ColSpec(DataType.double, name, required=False) for name in FEATURES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.lightgbm.save_model(
            lightgbm.Booster(model_str=text),
            str(Path(settings.home) / PYFUNC),
            signature=ModelSignature(Schema(columns)),
            pip_requirements=["lightgbm"],
        )
