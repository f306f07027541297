"""Several observers of the same calls: each gets every call once, with its attribution in the right precedence."""

from __future__ import annotations

import textwrap

import pytest

import taximeter
from collector import Collector
from vendor import VendorServer

BEGIN = """
    import sys, openai, taximeter
    from taximeter.compat import paygent_sdk, token_trackr, tokenr
    VENDOR, PROVIDER = sys.argv[1:3]
    gpt = openai.OpenAI(api_key="k", base_url=PROVIDER + "/v1", max_retries=0)
    CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a secret question"}]}
"""


@pytest.fixture
def ledger(run, provider, state):
    """Return a function that runs Python text, and returns the ledger's events and the requests to the services."""

    def start(text: str, *arguments: str) -> tuple[list[dict], VendorServer]:
        with VendorServer() as server:
            run(textwrap.dedent(BEGIN) + textwrap.dedent(text), server.url, provider.url, *arguments)
        path = state / "ledger.db"
        return (list(taximeter.Ledger(path).events()) if path.exists() else []), server

    return start


def test_a_scope_overrides_defaults_and_is_overridden_by_the_call(ledger):
    events, _ = ledger(
        """
        tokenr.init(token="t", url=VENDOR, agent_id="default", tags={"env": "prod", "a": "default"}, destination=("tokenr", "ledger"))
        paygent_sdk.init("k", VENDOR, destination=("paygent", "ledger"))
        gpt.chat.completions.create(**CHAT)
        with taximeter.attribute(agent="scope", tags={"a": "scope"}):
            gpt.chat.completions.create(**CHAT)
            gpt.chat.completions.create(**CHAT, taximeter_agent="call")
            gpt.chat.completions.create(
                **CHAT, tokenr_agent_id="said", tokenr_tags={"t": 1}, paygent_agent_id="ag", paygent_customer_id="c", paygent_meta_tags={"p": 2}
            )
            gpt.chat.completions.create(**CHAT, tokenr_team_id="team", paygent_agent_id="a", paygent_customer_id="c", paygent_meta_tags=["x"])
        """
    )
    assert [event.get("agent") for event in events] == ["default", "scope", "call", "ag", "a"]
    assert events[0]["tags"] == {"env": "prod", "a": "default"}
    assert events[1]["tags"] == {"env": "prod", "a": "scope"}
    assert events[3]["tags"] == {"env": "prod", "a": "scope", "t": "1", "p": "2"}
    assert (events[4]["team"], events[4]["customer"], events[4]["tags"]) == ("team", "c", {"env": "prod", "a": "scope"})


@pytest.mark.parametrize("begin", ["", "taximeter.init()"])
def test_a_call_through_a_wrapper_is_one_row_in_the_ledger(ledger, begin):
    events, server = ledger(
        f"""
        {begin}
        config = token_trackr.TokenTrackrConfig(backend_url=VENDOR, tenant_id="acme")
        client = token_trackr.TokenTrackrClient(config, destination=("token_trackr", "ledger"))
        azure = openai.AzureOpenAI(api_key="k", api_version="2024-10-21", azure_endpoint=PROVIDER)
        wrapper = token_trackr.AzureOpenAIWrapper(azure, client)
        wrapper.chat.completions.create(**CHAT)
        wrapper.chat.completions.with_raw_response.create(**CHAT).parse()
        wrapper.with_options(timeout=9).chat.completions.create(**CHAT)
        client.close()
        """
    )
    assert [event["customer"] for event in events] == ["acme"] * 3
    sent = [one for request in server.requests for one in (request.json if isinstance(request.json, list) else [request.json])]
    assert len(sent) == 3


def test_events_for_the_ledger_are_in_it_beside_other_destinations(ledger):
    with Collector() as collector:
        events, _ = ledger(
            """
            taximeter.init(destination=sys.argv[3])
            tokenr.init(destination="ledger", agent_id="a")
            tokenr.track("openai", "gpt-4o", 100, 10)
            gpt.chat.completions.create(**CHAT)
            taximeter.flush(10)
            """,
            collector.url,
        )
        assert [event["agent"] for event in events] == ["a", "a"]
        # The client's call also goes to the collector. The event for Tokenr only goes to the ledger.
        assert len(collector.events) == 1


def test_calls_without_paygents_keywords_are_not_recorded_for_it(ledger):
    events, server = ledger(
        """
        paygent_sdk.init("k", VENDOR, destination=("paygent", "ledger"))
        gpt.chat.completions.create(**CHAT)
        gpt.chat.completions.create(**CHAT, paygent_agent_id="a")
        gpt.chat.completions.create(**CHAT, paygent_agent_id="a", paygent_customer_id="c", paygent_customer_name="Acme")
        gpt.chat.completions.create(**CHAT, paygent_agent_id="a", paygent_customer_id="c")
        gpt.chat.completions.create(**CHAT, paygent_agent_id="a", paygent_customer_id="c", paygent_customer_name="Acme Ltd")
        """
    )
    assert len(events) == 3
    names = [request.json["name"] for request in server.requests if request.path.endswith("create-or-get")]
    assert sorted(names) == ["Acme", "Acme Ltd"]


def test_unreported_usage_is_counted(ledger):
    _, server = ledger(
        """
        from taximeter import compat
        tokenr.init(token="t", url=VENDOR)
        list(gpt.chat.completions.create(**CHAT, stream=True))
        assert compat.stats()[0]["remarks"]["usage_unreported"] == 1
        tokenr.configure(timeout=None)
        tokenr.track("p", "m", 1, 2)
        tokenr.configure(timeout=(3, 10))
        import datetime, uuid
        agent = uuid.UUID(int=7)
        tokenr.track("p", "m", 3, 4, agent_id=agent, requested_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc))
        """
    )
    first, second = sorted((request.json for request in server.requests), key=lambda body: body["input_tokens"])
    assert first["input_tokens"] == 1
    assert (second["agent_id"], second["requested_at"]) == ("00000000-0000-0000-0000-000000000007", "2026-01-01 00:00:00+00:00")
