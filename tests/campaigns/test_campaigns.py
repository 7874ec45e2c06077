"""Campaigns: checking recipients, confirmation, sending at most once, stopping, resuming, the command line."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from support.archives import execute, url_of

import viberkit as vk
from viberkit.campaigns import run as campaigns_run
from viberkit.campaigns.campaign import CampaignStatus
from viberkit.campaigns.plan import fill, placeholders, plan_messages
from viberkit.cli import main as cli
from viberkit.errors import CampaignError, InvalidRequest, MissingColumn

HI = vk.Text("Hi {first_name}")


def people(count: int, first: int = 0) -> pd.DataFrame:
    numbers = [f"+49170{1_000_000 + first + index}" for index in range(count)]
    return pd.DataFrame({"to": numbers, "first_name": [f"N{index}" for index in range(count)]})


def posts(sandbox: vk.Sandbox) -> list[Any]:
    return [request for request in sandbox.requests if request.method == "POST"]


def summaries(status: CampaignStatus) -> list[str]:
    return status.to_frame()["summary"].tolist()


@pytest.fixture
def spring(archive: vk.Archive) -> vk.campaigns.Campaign:
    return vk.Campaign.plan(archive, "spring", people(40), HI, rate_type="promotion", price=0.03, currency="€")


def send(campaign: Any, sandbox: vk.Sandbox, **options: Any) -> CampaignStatus:
    status: CampaignStatus = campaign.send(sandbox.client(retry_for_s=0.5), progress=False, **options)
    return status


# --- planning --------------------------------------------------------------------------------------------


def test_replace_forgets_what_was_planned_until_it_is_confirmed(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any
) -> None:
    def plan(first: int, count: int, text: str) -> vk.Campaign:
        table = people(count, first)
        return vk.Campaign.plan(archive, "spring", table, vk.Text(text), rate_type="promotion", replace=True)

    spring = plan(0, 3, "Hello {first_name}")
    assert spring.preview().sample["text"].tolist() == ["Hello N0", "Hello N1", "Hello N2"]
    assert [content.text for content in spring.preview(2).contents] == ["Hello N0", "Hello N1"]
    confirm = spring.preview().confirm
    send(spring, sandbox, confirm=confirm)
    plan(10, 1, "Hello {first_name}")
    assert spring.status().counts == {"planned": 1, "accepted": 3}, "a campaign that was confirmed is kept"
    with pytest.raises(CampaignError, match="different terms"):
        plan(0, 3, "Hi")
    assert plan(0, 3, "Hello {first_name}").status().counts == {"planned": 1, "accepted": 3}


def test_a_campaign_that_was_not_sent_is_kept_once_it_is_confirmed(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any
) -> None:
    send(spring, sandbox, confirm=spring.preview().confirm, stop=lambda: True)
    assert spring.status().counts == {"queued": 40}
    with pytest.raises(CampaignError, match="different terms"):
        vk.Campaign.plan(archive, "spring", people(1), vk.Text("Hi"), rate_type="promotion", replace=True)


def test_planning_sends_nothing_and_previews_the_messages(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any
) -> None:
    shown = spring.preview()
    assert (shown.planned, shown.longest, shown.cost) == (40, 6, "€1.20")
    assert shown.sample["text"].tolist() == [f"Hi N{index}" for index in range(5)]
    assert shown.confirm.startswith("send 40 for at most €1.20 [")
    assert "+49170" not in repr(shown)
    assert summaries(spring.status()) == ["40 planned: not confirmed, not sent"]
    assert archive.messages().empty
    assert sandbox.requests == []


def test_invalid_rows_are_listed_and_left_out(archive: vk.Archive) -> None:
    rows = people(8)
    rows.loc[1, "to"] = "+49 12"
    rows.loc[3, "to"] = "0049 170 1000000"  # as row 1
    rows.loc[4, "first_name"] = None
    rows.loc[5, "first_name"] = "x" * 3000
    rows.loc[6, ["to", "first_name"]] = [None, " "]
    campaign = vk.Campaign.plan(archive, "spring", rows, HI, rate_type="promotion")
    problems = campaign.problems
    assert problems[["row", "field"]].values.tolist() == [
        [2, "to"],
        [4, "to"],
        [5, "first_name"],
        [6, "text"],
        [7, "first_name"],
        [7, "to"],
    ]
    assert problems["rule"].tolist()[1:4] == [
        "is also the number of row 1",
        "is missing in this row",
        "has 3003 characters, more than 3000",
    ]
    assert campaign.preview().planned == 3
    assert "left out: 5 rows" in repr(campaign.preview())
    assert not problems["value"].str.contains("1000000").any()


def test_recipients_are_a_frame_a_file_or_a_list(archive: vk.Archive, tmp_path: Path) -> None:
    rows = people(3)
    rows.rename(columns={"to": "phone"}).to_csv(tmp_path / "r.csv", index=False)
    plain = vk.Text("Hello {{you}}")
    sources = [rows, tmp_path / "r.csv", str(tmp_path / "r.csv"), rows["to"].tolist(), rows.to_dict("records")]
    sources.append(rows.assign(to=[int(number) for number in rows["to"]]))
    for index, source in enumerate(sources):
        campaign = vk.Campaign.plan(archive, f"c{index}", source, plain, rate_type="session")
        sent = campaign.messages(unmask=True)
        assert sent["to"].tolist() == rows["to"].tolist()
        assert campaign.preview().sample["text"].iloc[0] == "Hello {you}"
    named = rows.rename(columns={"to": "Mobile no."})
    assert vk.Campaign.plan(archive, "named", named, plain, rate_type="session", to="Mobile no.").preview().planned == 3


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"recipients": pd.DataFrame({"x": ["1"]})},
            MissingColumn,
            "no columns 'to', 'first_name'; the columns are: 'x'",
        ),
        ({"content": vk.Text("Hi {last_name}")}, MissingColumn, "no column 'last_name'"),
        ({"content": "Hi"}, InvalidRequest, "is not message content"),
        ({"rate_type": "promo"}, InvalidRequest, "did you mean 'promotion'"),
        ({"rate_type": None}, InvalidRequest, "rate_type"),
        ({"region": "Germany"}, InvalidRequest, "region: 'Germany' is not a country; pass its two letters"),
        ({"region": "de"}, InvalidRequest, "region: 'de' is not a country; did you mean 'DE'"),
        ({"name": " "}, InvalidRequest, "name: ' ' is blank"),
        ({"context": "x" * 99}, InvalidRequest, "more than 98"),
        ({"price": -1}, InvalidRequest, "is not an amount"),
        ({"cost_cap": 5}, InvalidRequest, "cost_cap: 5 needs a price"),
        ({"recipients": None}, InvalidRequest, "recipients: are missing"),
        ({"recipients": "+491701234567"}, CampaignError, "is one recipient, not a list"),
        ({"recipients": {"to": "+491701234567"}}, CampaignError, "is one recipient, not a list"),
        ({"recipients": "nowhere.csv"}, CampaignError, "the file 'nowhere.csv' does not exist"),
        ({"price": (0.06, 0.03)}, InvalidRequest, "whose upper end is below its lower end"),
        ({"price": (0.03, None)}, InvalidRequest, "is not a range of two amounts"),
        ({"price": (1, 2, 3)}, InvalidRequest, "is not a range of two amounts"),
        ({"price": True}, InvalidRequest, "is not an amount"),
    ],
)
def test_invalid_terms_are_refused(
    archive: vk.Archive, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    arguments = {"name": "spring", "recipients": people(2), "content": HI, "rate_type": "promotion", **options}
    with pytest.raises(error, match=text.replace("[", r"\[")):
        vk.Campaign.plan(
            archive, arguments.pop("name"), arguments.pop("recipients"), arguments.pop("content"), **arguments
        )
    assert archive.outbox().empty


@pytest.mark.parametrize(
    "text", [b"to,other\n+491701000001,+491701000002,x\n", b"", b" \n\n", b"to\n\x00\xff\n", b'to\n"+491701000001\n']
)
def test_an_unreadable_file_is_refused(archive: vk.Archive, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "r.csv").write_bytes(text)
    with pytest.raises(CampaignError, match="cannot be read"):
        vk.Campaign.plan(archive, "c", tmp_path / "r.csv", vk.Text("Hi"), rate_type="session")
    assert archive.outbox().empty


def test_repeated_columns_are_refused(archive: vk.Archive, tmp_path: Path) -> None:
    rows = pd.DataFrame([["+491701000001", "Ada", "Bo"]], columns=["to", "first_name", "first_name"])
    rows.to_csv(tmp_path / "r.csv", index=False)
    numbers = pd.DataFrame([["+491701000001", "+491701000002"]], columns=["to", "to"])
    for recipients in (rows, tmp_path / "r.csv", numbers):
        with pytest.raises(CampaignError, match=r"recipients: have several columns '(first_name|to)'; rename"):
            vk.Campaign.plan(archive, "c", recipients, HI, rate_type="session")
    assert archive.outbox().empty


def test_missing_numbers_do_not_stop_the_others(archive: vk.Archive, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("to,other\n+491701000001,+491701000002,\n")
    sources: list[Any] = [tmp_path / "s.csv", pd.DataFrame({"to": ["+491701000001", None]}).convert_dtypes()]
    sources += [[491701000001, None, float("nan"), pd.NA, "", " "], [{"to": 491701000001}, {"name": "Ada"}]]
    for index, source in enumerate(sources):
        campaign = vk.Campaign.plan(archive, f"c{index}", source, vk.Text("Hi"), rate_type="session")
        assert campaign.messages(unmask=True)["to"].tolist() == ["+491701000001"]
        assert campaign.problems["rule"].tolist() == ["is missing"] * (len(campaign.problems))


def test_a_campaign_has_one_content(archive: vk.Archive, spring: Any) -> None:
    for content, rate_type in ((vk.Text("Ho {first_name}"), "promotion"), (HI, "session")):
        with pytest.raises(CampaignError, match="choose another name"):
            vk.Campaign.plan(archive, "spring", people(2), content, rate_type=rate_type)
    again = vk.Campaign.plan(archive, "spring", people(50), HI, rate_type="promotion", price=0.03)
    assert again.preview().planned == 50, "ten more"
    renamed = people(50).assign(first_name="X")
    vk.Campaign.plan(archive, "spring", renamed, HI, rate_type="promotion")
    assert again.preview().planned == 50, "a recipient gets one message of a campaign"
    assert vk.Campaign.open(archive, "spring").preview().confirm == again.preview().confirm
    with pytest.raises(CampaignError, match=r"'sprng': is not in the archive; did you mean 'spring'\? plan it"):
        vk.Campaign.open(archive, "sprng")


names = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), min_size=1, max_size=8)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(values.map(lambda item: item.replace("{", "{{").replace("}", "}}")), names, values), max_size=4)
)
def test_fill_replaces_only_placeholders(parts: list[tuple[str, str, str]]) -> None:
    table_of = {name: value for _, name, value in parts}
    content = vk.List("".join(f"{plain}{{{name}}}" for plain, name, _ in parts), ["{{a}}", "b"])
    assert placeholders(content) == list(dict.fromkeys(name for _, name, _ in parts))
    filled = fill(content, table_of)
    assert filled.text == "".join(
        plain.replace("{{", "{").replace("}}", "}") + table_of[name] for plain, name, _ in parts
    )
    assert filled.options == ("{a}", "b")


def test_placeholders_in_values_are_not_filled() -> None:
    assert fill(vk.Text("Hi {a}"), {"a": "{b} {{c}}"}) == vk.Text("Hi {b} {{c}}")


def test_whole_numbers_are_written_without_a_fraction() -> None:
    rows = pd.DataFrame({"to": ["+491701000000"] * 1, "n": [7.0], "m": [np.int64(8)], "x": [1.5]})
    messages, problems = plan_messages("c", rows, vk.Text("{n} {m} {x}"), "session")
    assert problems.empty
    assert '"text":"7 8 1.5"' in messages[0].content


# --- sending ---------------------------------------------------------------------------------------------


def test_sending_again_sends_nothing(sandbox: vk.Sandbox, archive: vk.Archive, spring: Any) -> None:
    confirm = spring.preview().confirm
    for _ in range(3):
        status = send(spring, sandbox, confirm=confirm)
        assert summaries(status) == ["40 accepted (€1.20)"]
        assert status.stopped is None
        spring = vk.Campaign.plan(archive, "spring", people(40), HI, rate_type="promotion")
    assert len(posts(sandbox)) == 40
    assert len({request.json["context"] for request in posts(sandbox)}) == 40
    messages = archive.messages()
    assert (messages["campaign"] == "spring").all()
    assert messages["context"].isna().all()
    assert sorted(messages["text"]) == sorted(f"Hi N{index}" for index in range(40))
    assert spring.messages()["message_id"].notna().all()


def test_a_confirmation_is_valid_for_the_previewed_messages(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any
) -> None:
    old = spring.preview().confirm
    more = vk.Campaign.plan(archive, "spring", people(41), HI, rate_type="promotion")
    for wrong in (old, "", "yes", more.preview().confirm[:-2] + "x]"):
        with pytest.raises(CampaignError, match="what would be sent differs"):
            send(more, sandbox, confirm=wrong)
    repriced = vk.Campaign.plan(archive, "spring", people(41), HI, rate_type="promotion", price=0.04)
    assert repriced.preview().confirm != more.preview().confirm or repriced.preview().cost == "€1.64"
    assert posts(sandbox) == []
    confirm = repriced.preview().confirm
    send(repriced, sandbox, confirm=confirm)
    vk.Campaign.plan(archive, "spring", people(43), HI, rate_type="promotion")
    assert summaries(send(repriced, sandbox, confirm=confirm))[0] == "2 planned: not confirmed, not sent"
    assert len(posts(sandbox)) == 41
    with pytest.raises(CampaignError, match="no message is waiting"):
        send(vk.Campaign.plan(archive, "empty", [], vk.Text("Hi"), rate_type="session"), sandbox, confirm="x")


def test_sending_continues_and_does_not_repeat_unknown_messages(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any
) -> None:
    confirm = spring.preview().confirm
    sandbox.fault("drop", method="POST", times=5)
    status = send(spring, sandbox, confirm=confirm, workers=1)
    assert "5 outcomes in a row are unknown" in status.stopped
    assert summaries(status)[-1] == "5 unknown: may have been sent and charged (€0.15)"
    assert summaries(send(spring, sandbox, confirm=confirm)) == ["35 accepted (€1.05)", summaries(status)[-1]]
    assert len(posts(sandbox)) == 40
    unknown = spring.messages().query("state == 'unknown'")["key"].tolist()
    assert spring.resolve(unknown[:2], "resend", reason="the provider has no trace of them") == 2
    assert spring.resolve(unknown[2:], "abandon", reason="too late anyway") == 3
    status = send(spring, sandbox, confirm=confirm)
    assert status.counts == {"accepted": 37, "requeued": 2, "abandoned": 3}
    assert len(posts(sandbox)) == 42
    with pytest.raises(CampaignError, match="is not a key of the campaign"):
        spring.resolve(["vk" + "a" * 24], "abandon", reason="x")


def test_sending_stops_at_too_many_unknown_outcomes(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    campaign = vk.Campaign.plan(archive, "big", people(600), HI, rate_type="promotion")
    sandbox.fault("garble", method="POST", share=0.05)
    status = send(campaign, sandbox, confirm=campaign.preview().confirm)
    assert "are unknown, more than 1.0%" in status.stopped
    counts = status.counts
    assert counts["queued"] > 300
    assert counts["unknown"] >= 6


def test_sending_stops_at_the_cost_cap(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    options = {"rate_type": "promotion", "price": (0.03, 0.05), "currency": "€", "cost_cap": 1.00}
    campaign = vk.Campaign.plan(archive, "capped", people(40), HI, **options)
    assert campaign.preview().confirm.startswith("send 40 for at most €1.00 [")
    enough = vk.Campaign.plan(archive, "enough", people(20, 100), HI, **options)
    assert send(enough, sandbox, confirm=enough.preview().confirm).stopped is None
    before = len(posts(sandbox))
    status = send(campaign, sandbox, confirm=campaign.preview().confirm)
    assert "exceed the cost cap of 1.00" in status.stopped
    assert summaries(status) == ["20 queued: confirmed, not sent yet", "20 accepted (€0.60–1.00)"]
    assert len(posts(sandbox)) - before == 20


def test_another_cap_needs_another_confirmation(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    options: dict[str, Any] = {"rate_type": "promotion", "price": 0.05}
    campaign = vk.Campaign.plan(archive, "capped", people(40), HI, **options, cost_cap=1.00)
    first = campaign.preview().confirm
    send(campaign, sandbox, confirm=first)
    raised = vk.Campaign.plan(archive, "capped", people(40), HI, **options, cost_cap=1.50)
    with pytest.raises(CampaignError, match="what would be sent differs"):
        send(raised, sandbox, confirm=first)
    assert len(posts(sandbox)) == 20
    assert raised.preview().planned == 20
    send(raised, sandbox, confirm=raised.preview().confirm)
    assert len(posts(sandbox)) == 30


def test_sending_stops_without_a_server_and_stores_rejections(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    campaign = vk.Campaign.plan(archive, "c", people(30), HI, rate_type="promotion")
    unreachable = vk.Client("key", "SHOP", base_url="http://127.0.0.1:9", retry_for_s=0.1)
    status = campaign.send(unreachable, confirm=campaign.preview().confirm, progress=False)
    assert "messages in a row were neither accepted nor rejected" in status.stopped
    assert list(status.counts) == ["queued"]
    for options, rule in (
        ({"service_id": ""}, "service_id: is missing"),
        ({"workers": 0}, "workers: 0 is not between"),
    ):
        bad = vk.Client(sandbox.api_key, options.get("service_id", "S"), base_url=sandbox.base_url)
        with pytest.raises(InvalidRequest, match=rule):
            campaign.send(bad, confirm=campaign.confirmed, workers=options.get("workers", 4))
    wrong = vk.Client(sandbox.api_key, "NOT-OURS", base_url=sandbox.base_url)
    status = campaign.send(wrong, confirm=campaign.confirmed, progress=False)
    assert summaries(status) == ["30 rejected: refused by the server, not charged"]
    assert "refused the API key or the service id" in status.stopped
    refused = campaign.messages()
    assert refused["reason"].str.contains("403").all()
    assert campaign.resolve(refused["key"], "resend", reason="the service id is right now") == 30
    assert campaign.resolve(refused["key"], "resend", reason="twice") == 0
    assert summaries(send(campaign, sandbox, confirm=campaign.confirmed)) == ["30 accepted"]


def test_the_rate_is_limited(sandbox: vk.Sandbox, spring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    in_flight = []
    step = campaigns_run.CampaignRun.step

    def watched(self: Any) -> Any:
        rows = step(self)
        in_flight.append(len(self.in_flight))
        return rows

    monkeypatch.setattr(campaigns_run.CampaignRun, "step", watched)
    import time

    started = time.monotonic()
    send(spring, sandbox, confirm=spring.preview().confirm, per_second=40)
    assert time.monotonic() - started > 0.9
    assert max(in_flight) < 20, "no message waits in flight for its turn"
    with pytest.raises(vk.errors.ConfigurationError, match="per_second"):
        send(spring, sandbox, confirm=spring.confirmed, per_second=0)


def test_ctrl_c_waits_for_the_messages_in_flight(
    sandbox: vk.Sandbox, spring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = campaigns_run.CampaignRun.step, iter(range(1000))

    def interrupted_attempt(self: Any) -> Any:
        if next(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(campaigns_run.CampaignRun, "step", interrupted_attempt)
    sandbox.latency_s = 0.05
    status = send(spring, sandbox, confirm=spring.preview().confirm, workers=4)
    assert status.stopped == "interrupted"
    counts = status.counts
    assert set(counts) == {"queued", "accepted"}
    assert counts["accepted"] == len(posts(sandbox))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_results_are_settled_after_an_exception(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = campaigns_run.CampaignRun.step, iter(range(1000))

    def breaking(self: Any) -> Any:
        if next(calls) == 1:
            raise vk.errors.ArchiveError("locked")
        return step(self)

    monkeypatch.setattr(campaigns_run.CampaignRun, "step", breaking)
    with pytest.raises(vk.errors.ArchiveError, match="locked"):
        send(spring, sandbox, confirm=spring.preview().confirm, workers=8)
    assert spring.status().counts == {"queued": 32, "accepted": 8}


def test_a_resend_is_withdrawn_when_a_callback_proves_the_first_send(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any
) -> None:
    with vk.Listener(archive, now=lambda: sandbox.now) as listener:
        listener.configure(sandbox.client())
        sandbox.fault("garble", method="POST", times=2)
        send(spring, sandbox, confirm=spring.preview().confirm)
        unknown = spring.messages().query("state == 'unknown'")["key"]
        assert spring.resolve(unknown, "resend", reason="nothing came") == 2
        sandbox.advance(minutes=1)
    assert summaries(send(spring, sandbox, confirm=spring.confirmed)) == ["40 accepted (€1.20)"]
    assert len(posts(sandbox)) == 40


@pytest.mark.parametrize("owner", ["another-host/1/0.00/0", "12345/1", "12345", ""])
def test_a_campaign_whose_owner_has_ended_is_sent(
    sandbox: vk.Sandbox, archive: vk.Archive, spring: Any, owner: str
) -> None:
    execute(url_of(archive), "UPDATE campaigns SET owner = :owner", owner=owner)
    assert summaries(send(spring, sandbox, confirm=spring.preview().confirm)) == ["40 accepted (€1.20)"]


def test_a_campaign_is_sent_by_one_cell_at_a_time(sandbox: vk.Sandbox, archive: vk.Archive, spring: Any) -> None:
    sandbox.latency_s = 0.05
    confirm, results = spring.preview().confirm, []

    def work() -> None:
        try:
            results.append(send(spring, sandbox, confirm=confirm, workers=4))
        except CampaignError as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(posts(sandbox)) == 40
    errors = [str(item) for item in results if isinstance(item, CampaignError)]
    assert all("is being sent by another cell or process" in item for item in errors)
    assert len(errors) >= 1


def test_callbacks_settle_a_campaign(sandbox: vk.Sandbox, archive: vk.Archive, spring: Any) -> None:
    with vk.Listener(archive, now=lambda: sandbox.now) as listener:
        listener.configure(sandbox.client())
        sandbox.fault("garble", method="POST", times=3)
        status = send(spring, sandbox, confirm=spring.preview().confirm)
        assert status.counts == {"accepted": 37, "unknown": 3}
        sandbox.advance(minutes=1)
    assert summaries(spring.status()) == ["40 accepted (€1.20)"]
    assert (archive.messages()["campaign"] == "spring").all()
    assert set(spring.messages()["message_id"]) == set(sandbox.truth()["message_id"])


# --- the command line ------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], sandbox: vk.Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TYNTEC_API_KEY", sandbox.api_key)
    monkeypatch.setenv("VIBER_SERVICE_ID", "VIBERKIT")
    monkeypatch.setenv("VIBERKIT_BASE_URL", sandbox.base_url)

    def call(*args: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda _="": typed)
        with pytest.raises(SystemExit) as exited:
            cli.main(["campaign", *args])
        output = capsys.readouterr()
        return int(exited.value.code or 0), output.out, output.err

    return call


def test_the_command_line_plans_sends_and_resolves(run: Any, sandbox: vk.Sandbox, tmp_path: Path) -> None:
    people(12).to_csv("r.csv", index=False)
    command = ["spring", "r.csv", "--text", "Hi {first_name}", "--rate-type", "promotion", "--price", "0.03"]
    code, out, _ = run(*command)
    assert code == 0
    confirm = out.split("confirm: ")[1].strip().strip("'")
    assert posts(sandbox) == []
    code, _, err = run("send", "spring", typed="yes")
    assert (code, posts(sandbox)) == (1, [])
    assert confirm in err
    sandbox.fault("drop", method="POST", times=5)
    code, out, err = run("send", "spring", "--workers", "1", typed=confirm)
    assert (code, "5 unknown" in out, "stopped: 5 outcomes" in err) == (4, True, True)
    assert run("send", "spring")[0] == 5, "some outcomes are unknown"
    assert "7 accepted (0.21)" in run("status", "spring")[1]
    listed = run("resolve", "spring")[1]
    assert listed.count("vk") >= 5
    assert "5 resolved" in run("resolve", "spring", "abandon", "--all", "--reason", "x")[1]
    assert run("send", "spring")[0] == 0
    assert len(posts(sandbox)) == 12
    (tmp_path / "list.json").write_text('{"contentType": "list", "list": {"text": "Where?", "options": ["a", "b"]}}')
    assert run("plan", "where", "r.csv", "--content", "list.json", "--rate-type", "transaction")[0] == 0
    assert run("plan", "where", "r.csv", "--rate-type", "transaction")[0] == 2
    (tmp_path / "list.json").write_text("{")
    code, _, err = run("plan", "other", "r.csv", "--content", "list.json", "--rate-type", "transaction")
    assert (code, "not JSON" in err) == (1, True)
    assert run("status", "nothing")[0] == 1
    assert run("status", "nothing", "--archive", "none.db")[0] == 2


def test_the_command_line_reads_workbooks_and_national_numbers(run: Any, tmp_path: Path) -> None:
    rows = pd.DataFrame({"Kunde": ["Ada", "Bo"], "Handy": ["0151 42345678", 1701234567]})
    rows.to_excel("r.xlsx", index=False, sheet_name="Kunden")
    command = ["plan", "spring", "r.xlsx", "--text", "Hi {Kunde}", "--rate-type", "promotion"]
    code, _, err = run(*command)
    assert (code, 'pass to="Handy"' in err) == (1, True)
    code, out, _ = run(*command, "--to", "Handy")
    assert (code, "messages to send: 0" in out, "pass its country, e.g. region='DE'" in out) == (0, True, True)
    code, out, _ = run(*command, "--to", "Handy", "--region", "DE")
    assert (code, "recipients: r.xlsx: Excel, sheet 'Kunden'" in out, "messages to send: 2" in out) == (0, True, True)
    code, _, err = run(*command, "--to", "Handy", "--region", "Germany")
    assert (code, "region: 'Germany' is not a country" in err) == (1, True)
    (tmp_path / "numbers.txt").write_text("15142345678\n")
    command[2] = "numbers.txt"
    command[4] = "Hi"
    assert "messages to send: 0" in run(*command[:1], "summer", *command[2:])[1]
    assert "messages to send: 1" in run(*command[:1], "summer", *command[2:], "--international")[1]


# --- stopping on request ---------------------------------------------------------------------------------


def test_stop_waits_for_the_messages_in_flight_and_the_same_call_continues(archive: vk.Archive) -> None:
    campaign = vk.Campaign.plan(archive, "spring", people(100), HI, rate_type="promotion")
    with vk.Sandbox(seed=1, speed=0, latency_s=0.05) as sandbox:
        confirm = campaign.preview().confirm
        status = send(campaign, sandbox, confirm=confirm, workers=4, stop=lambda: len(posts(sandbox)) >= 20)
        assert status.stopped == "stopped on request"
        assert 20 <= status.counts["accepted"] == len(posts(sandbox)) < 30
        assert set(status.counts) == {"queued", "accepted"}
        assert send(campaign, sandbox, confirm=confirm).counts == {"accepted": 100}
        assert len({request.json["to"] for request in posts(sandbox)}) == len(posts(sandbox)) == 100


def test_a_stop_before_the_first_message_sends_nothing(sandbox: vk.Sandbox, spring: Any) -> None:
    assert send(spring, sandbox, confirm=spring.preview().confirm, stop=lambda: True).counts == {"queued": 40}
    assert not posts(sandbox)
