"""A fuzzer of others, schemathesis, at real nodes: docs/reference/openapi.yaml is all that it knows of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fakeserver import FakeTriad

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from schemathesis import Case

    AnyCase = Case[Any]

pytestmark = [pytest.mark.real, pytest.mark.slow]

LIMIT_S = 10.0
EXAMPLES = 50  # of each call, good ones or bad ones
CALLS = 6
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "openapi.yaml"


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """A triad that nothing here may hurt."""
    with FakeTriad(features={"RISK_IND80": 50}, ttl_s=30.0) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad
        assert triad.wait_for_master(LIMIT_S) is triad.primary
        assert [node.last_words for node in triad.nodes] == [""] * 3


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("role", ["primary", "tertiary"])
def test_no_call_gets_an_answer_that_the_document_does_not_tell_of(triad: FakeTriad, role: str, mode: str) -> None:
    """Issue "the triad in full", conformance: no 500, no accepted bad body, replies match the schema."""
    import schemathesis  # it takes half a second, which is not for those who run other tests
    from schemathesis.core.result import Ok

    node = triad.node(role)
    operations = [found.ok() for found in schemathesis.openapi.from_path(DOCUMENT).get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == CALLS
    for operation in operations:
        if mode == "positive" or operation.label != "GET /v1/status":  # nothing can be wrong with that
            _fuzz(f"http://{node.host}:{node.port}", operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))


def _fuzz(address: str, cases: SearchStrategy[AnyCase]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def ask(case: AnyCase) -> None:
        _ask(address, case)

    ask()


def _ask(address: str, case: AnyCase) -> None:
    """Ask, and let every check look at the answer that asks for no more than the protocol promises."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.parameters import ParameterLocation
    from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance, unsupported_method

    excluded = [
        not_a_server_error,  # 503 is an answer of the document; 500 is none, and status_code_conformance finds it
        positive_data_acceptance,  # a good request may meet a node that is not master (421), or an id that was given back (410)
        unsupported_method,  # ours has tests of its own
    ]
    body = case.meta.components.get(ParameterLocation.BODY) if case.meta else None
    if body is None or not body.mode.is_negative:
        excluded.append(negative_data_rejection)  # headers that nobody knows are skipped (RFC 9110)
    case.headers.pop("Prefer", None)  # to be parked for half a minute shows nothing more
    case.call_and_validate(base_url=address, excluded_checks=excluded, timeout=LIMIT_S)
