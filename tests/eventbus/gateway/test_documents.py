"""The documents of the gateway are true: AsyncAPI by its official schema, OpenAPI by a client that tries everything it says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

import quantum_trader.events  # noqa: F401 - many types, to be told
from eventbus.gateway import GatewaySettings, Limits
from eventbus.gateway.documents import asyncapi, types_of
from eventbus.gateway.tokens import create_token
from tests.eventbus.gateway.facts import DeskOpened
from tests.eventbus.gateway.test_auth import NOW
from tests.eventbus.gateway.threaded import Watched, gateway_in_a_thread

SCHEMA = Path(__file__).parents[2] / "data" / "asyncapi" / "3.0.0.json"
EXAMPLES = 15


def document() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(asyncapi(types_of(lambda name: name.startswith("desk.")))))
    return read


@pytest.mark.slow
def test_asyncapi_is_what_its_official_schema_says() -> None:
    import jsonschema_rs

    official = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
    told = document()
    assert [error.message for error in official.iter_errors(told)] == []
    assert len(told["channels"]) > 40
    told["channels"]["desk_opened"]["adress"] = "desk.opened"
    assert not official.is_valid(told)


@pytest.mark.slow
def test_asyncapi_tells_each_type_by_its_class() -> None:
    import jsonschema_rs

    told = document()
    message = told["components"]["messages"]["desk_opened"]
    assert told["channels"]["desk_opened"]["address"] == message["name"] == "desk.opened"
    payload = jsonschema_rs.validator_for(message["payload"]["schema"])
    assert payload.is_valid(DeskOpened(desk=1).payload)
    assert not payload.is_valid({"desk": "1"})
    assert {"send_desk_opened", "receive_desk_opened", "send_trade_made"} <= told["operations"].keys()
    assert "receive_trade_made" not in told["operations"]


@pytest.mark.timed  # a loop that gets no processor is one that stands still
@pytest.mark.filterwarnings("default")  # of the client's own libraries
@pytest.mark.parametrize("has_tokens", [False, True])
def test_openapi_is_true(tmp_path: Path, has_tokens: bool) -> None:
    token, file = None, None
    if has_tokens:
        file = tmp_path / "tokens.json"
        _, token = create_token(file, "test", ["read:*", "publish:*", "admin"], NOW, None)
    # Each request is made again without its token, and by another method: no guessing, no flood.
    limits = Limits(wrong_tokens=1_000_000, requests_per_s=1e6, requests_burst=1_000_000)
    with gateway_in_a_thread(GatewaySettings(port=0, allow_adhoc=True, tokens=file, limits=limits)) as watched:
        tried = try_everything(watched, {} if token is None else {"Authorization": f"Bearer {token}"})
    assert tried > 200
    assert watched.watchdog.count == 0


def try_everything(watched: Watched, headers: dict[str, str]) -> int:
    """Requests that the document allows, and such that it does not, of every route; all checks are made. Gives how many."""
    import schemathesis
    from schemathesis.core.failures import FailureGroup

    # That a position is of another log shows only when it is asked for.
    config = {
        "checks": {
            "positive_data_acceptance": {"expected-statuses": [*ACCEPTED, 410]},
            "negative_data_rejection": {"expected-statuses": ["4xx", 503]},  # what is too large, too
        }
    }
    schema = schemathesis.openapi.from_url(
        f"{watched.url}/openapi.json", config=schemathesis.Config.from_dict(config), headers=headers
    )
    document = dict(schema.raw_schema)
    tried = 0
    for result in schema.get_all_operations():
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            found: Any = result
            operation = found.ok()

            @settings(
                max_examples=EXAMPLES,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=[*HealthCheck],
                phases=[Phase.generate],
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                nonlocal tried
                tried += 1
                answer = case.call(headers=headers)
                try:
                    case.validate_response(answer, headers=headers)
                except FailureGroup as failed:
                    if not is_allowed_after_all(case, failed.exceptions, document):
                        raise
                assert re.search(r"Traceback|File \"", answer.text) is None

            try:
                check()
            except Unsatisfiable:
                pass  # there is nothing to be wrong about
    return tried


def is_allowed_after_all(case: Any, failures: Sequence[Exception], document: dict[str, Any]) -> bool:
    """Whether all that is complained of is a body that was spoilt for one branch of an `anyOf`, and that another allows."""
    import jsonschema_rs
    from schemathesis.core.failures import AcceptedNegativeData

    if not all(isinstance(failure, AcceptedNegativeData) for failure in failures):
        return False
    path = case.operation.path.replace("~", "~0").replace("/", "~1")
    body = f"#/paths/{path}/{case.method.lower()}/requestBody/content/application~1json/schema"
    return jsonschema_rs.validator_for(document | {"$ref": body}).is_valid(case.body)


ACCEPTED = ["2xx", "3xx", 401, 403, 404, 409, 429, 503]
