"""The Feast objects say what the lists without Feast say, and Feast's own tools can use them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from feast import FeatureStore
from feast.repo_operations import get_repo_files

from feature_repo import contract, naming, store, transforms
from feature_repo.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", project="shop")


@pytest.fixture
def feast_store(settings: Settings) -> FeatureStore:
    return store.open_store(settings)


def test_feast_reads_only_the_repo_module() -> None:
    assert get_repo_files(store.REPO) == [store.REPO / "repo.py"]


def test_the_service_serves_the_model_features_then_the_context(feast_store: FeatureStore) -> None:
    service = feast_store.get_feature_service(contract.FEATURE_SERVICE)

    projections = service.feature_view_projections
    served = [f.name for projection in projections for f in projection.features]

    assert tuple(served) == (*contract.MODEL_FEATURES, *contract.CONTEXT_FEATURES)


def test_the_views_hold_the_contract_columns(feast_store: FeatureStore) -> None:
    views = {view.name: view for view in feast_store.list_feature_views()}
    placement = views.pop(contract.PLACEMENT)

    assert tuple(f.name for f in placement.features) == naming.PLACEMENT
    assert {c.name for c in placement.entity_columns} == {*contract.PLACEMENT_KEYS}
    assert {n: tuple(f.name for f in v.features) for n, v in views.items()} == contract.VIEWS
    texts = {f.name for v in views.values() for f in v.features if str(f.dtype) == "String"}
    assert texts == set(contract.TEXT_FEATURES)


def test_the_online_columns_are_what_the_service_needs(feast_store: FeatureStore) -> None:
    service = feast_store.get_feature_service(contract.FEATURE_SERVICE)
    needed: dict[str, set[str]] = {}
    for projection in service.feature_view_projections:
        needed.setdefault(projection.name, set()).update(f.name for f in projection.features)
    del needed[contract.SEND_TIME]
    on_demand = feast_store.get_on_demand_feature_view(contract.SEND_TIME)
    for projection in on_demand.source_feature_view_projections.values():
        needed[projection.name].update(f.name for f in projection.features)

    # Models of before saw windows that no model sees any more, and must go on answering.
    needed[contract.CUSTOMER_DAILY].update(naming.CUSTOMER_DAILY)
    assert {view: set(names) for view, names in contract.ONLINE_COLUMNS.items()} == needed
    assert set(on_demand.get_request_data_schema()) == {contract.REQUEST_COLUMN}
    assert tuple(f.name for f in on_demand.features) == transforms.SEND_TIME


def test_applying_twice_changes_nothing(settings: Settings) -> None:
    store.apply(settings)
    before = store.open_store(settings).get_feature_view(contract.ACTIVITY).last_updated_timestamp
    store.apply(settings)

    after = store.open_store(settings).get_feature_view(contract.ACTIVITY).last_updated_timestamp
    assert before == after


def test_the_feast_command_applies_and_lists(settings: Settings) -> None:
    feast = Path(sys.executable).with_name("feast")
    environment = {**os.environ, **store.environment(settings)}
    settings.state_path.mkdir(parents=True)

    for arguments in (["plan"], ["apply"]):
        done = subprocess.run(
            [feast, *arguments], cwd=store.REPO, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [feast, "feature-views", "list"],
        cwd=store.REPO,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert all(view in listed.stdout for view in contract.VIEWS), listed.stderr
