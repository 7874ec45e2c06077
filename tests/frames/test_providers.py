"""The receipts of other providers, as they publish their formats, with values of our own."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import viberkit as vk
from viberkit.errors import MissingColumn
from viberkit.frames.reader import UncertainTimesWarning

TWILIO_CALLBACK = {
    "SmsSid": "SM0c1d6a9e5f0b4c2e9d7a3b8f1e2d4c6a",
    "SmsStatus": "undelivered",
    "MessageStatus": "undelivered",
    "MessageSid": "SM0c1d6a9e5f0b4c2e9d7a3b8f1e2d4c6a",
    "AccountSid": "AC00000000000000000000000000000000",
    "From": "+15005550006",
    "To": "+15005550009",
    "ErrorCode": "30005",
    "RawDlrDoneDate": "2403051742",
    "ApiVersion": "2010-04-01",
}
TWILIO_MESSAGES = {
    "messages": [
        {
            "account_sid": "AC00000000000000000000000000000000",
            "body": "Hello",
            "date_created": "Tue, 05 Mar 2024 17:40:01 +0000",
            "date_sent": "Tue, 05 Mar 2024 17:40:02 +0000",
            "date_updated": "Tue, 05 Mar 2024 17:40:05 +0000",
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "num_segments": "1",
            "sid": "SM11111111111111111111111111111111",
            "status": "read",
            "to": "+15005550009",
        },
        {
            "date_created": "Tue, 05 Mar 2024 18:00:00 +0000",
            "date_sent": "Tue, 05 Mar 2024 18:00:00 +0000",
            "date_updated": "Tue, 05 Mar 2024 18:00:00 +0000",
            "direction": "inbound",
            "sid": "SM22222222222222222222222222222222",
            "status": "received",
        },
    ],
    "page": 0,
}
TWILIO_CSV = """From,To,Body,Status,SentDate,ApiVersion,NumSegments,ErrorCode,AccountSid,Sid,Direction,Price,PriceUnit
+15005550006,+15005550009,"Hello, you",delivered,2024-03-05T17:40:02Z,2010-04-01,1,0,AC0,SM3,outbound-api,-0.0075,USD
+15005550006,+15005550009,Hello,undelivered,2024-03-05T17:41:02Z,2010-04-01,1,30003,AC0,SM4,outbound-api,-0.0075,USD
"""
INFOBIP = {
    "results": [
        {
            "bulkId": "2034072219640523072",
            "messageId": "2250be2d-4219-3af1-8ee8-c321e6c5a1fc",
            "to": "4915112345678",
            "sentAt": "2024-03-05T17:40:01.123+0000",
            "doneAt": "2024-03-05T17:40:04.456+0000",
            "messageCount": 1,
            "price": {"pricePerMessage": 0.01, "currency": "EUR"},
            "status": {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "DELIVERED_TO_HANDSET"},
            "error": {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR", "permanent": False},
            "channel": "VIBER_BM",
        },
        {
            "messageId": "2250be2d-4219-3af1-8ee8-c321e6c5a1fd",
            "sentAt": "2024-03-05T17:40:02.000+0000",
            "doneAt": "2024-03-05T17:40:09.000+0000",
            "status": {"groupId": 2, "groupName": "UNDELIVERABLE", "id": 9, "name": "UNDELIVERABLE_NOT_DELIVERED"},
            "error": {"groupId": 1, "groupName": "HANDSET_ERRORS", "id": 27, "name": "EC_ABSENT_SUBSCRIBER"},
        },
    ]
}
INFOBIP_SEEN = {
    "results": [
        {"messageId": "m-1", "from": "BRAND", "sentAt": "2024-03-05T17:40:01Z", "seenAt": "2024-03-05T17:42:01Z"}
    ]
}
VONAGE_MESSAGES = {
    "message_uuid": "3f6c1f1e-6f2a-4f5e-9d61-0a3a3a0f9a01",
    "to": "447700900000",
    "from": "Brand",
    "timestamp": "2024-03-05T17:40:04.123Z",
    "status": "rejected",
    "error": {
        "type": "https://developer.vonage.com/api-errors/messages#1020",
        "title": 1020,
        "detail": "Invalid params",
    },
    "channel": "viber_service",
    "usage": {"currency": "EUR", "price": "0.0333"},
}
VONAGE_DLR = {
    "msisdn": "447700900000",
    "to": "Brand",
    "network-code": "23410",
    "messageId": "0A0000001234567B",
    "price": "0.03330000",
    "status": "delivered",
    "scts": "2403051740",
    "err-code": "0",
    "message-timestamp": "2024-03-05 17:40:07",
}
TWILIO_EVENT = {
    "specversion": "1.0",
    "type": "com.twilio.messaging.message.delivered",
    "data": {
        "messageSid": "SM5",
        "messageStatus": "DELIVERED",
        "timestamp": "2024-03-05T17:40:06.5Z",
        "to": "+15005550009",
    },
}
VONAGE_REPORT = {
    "records": [
        {
            "message_id": "0B0000001234567C",
            "status": "delivered",
            "date_received": "2024-03-05T17:40:01+0000",
            "date_finalized": "2024-03-05T17:40:08+0000",
            "error_code": "0",
        }
    ]
}
SINCH_SMS = {
    "type": "recipient_delivery_report_sms",
    "batch_id": "01HR7Y0000000000000000000A",
    "recipient": "447700900000",
    "code": 401,
    "status": "Dispatched",
    "at": "2024-03-05T17:40:04.123Z",
    "operator_status_at": "2024-03-05T17:40:00Z",
}
SINCH_CONVERSATION = {
    "app_id": "01HR7Y0000000000000000000B",
    "accepted_time": "2024-03-05T17:40:01.111Z",
    "event_time": "2024-03-05T17:40:04.123456Z",
    "project_id": "00000000-0000-4000-8000-000000000000",
    "message_delivery_report": {
        "message_id": "01HR7Y0000000000000000000C",
        "conversation_id": "01HR7Y0000000000000000000D",
        "status": "FAILED",
        "channel_identity": {"channel": "VIBERBM", "identity": "447700900000", "app_id": ""},
        "contact_id": "01HR7Y0000000000000000000E",
        "reason": {"code": "RECIPIENT_NOT_REACHABLE", "description": "not on the channel", "sub_code": "UNSPECIFIED"},
        "metadata": "",
    },
}


def whatsapp(*statuses: dict[str, Any]) -> dict[str, Any]:
    metadata = {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "statuses": list(statuses)}
    changes = [{"value": value, "field": "messages"}]
    return {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": changes}]}


WHATSAPP = whatsapp(
    {"id": "wamid.AAA=", "status": "sent", "timestamp": "1709660404", "recipient_id": "16505551234"},
    {"id": "wamid.AAA=", "status": "read", "timestamp": "1709660464", "recipient_id": "16505551234"},
    {
        "id": "wamid.BBB=",
        "status": "failed",
        "timestamp": "1709660405",
        "recipient_id": "16505551234",
        "errors": [{"code": 131026, "title": "Message undeliverable", "error_data": {"details": "…"}}],
    },
)

Row = tuple[str, str, str, str | None]
EXPECTED: list[tuple[str, Any, list[Row]]] = [
    ("twilio", TWILIO_CALLBACK, [("SM0c1d6a9e5f0b4c2e9d7a3b8f1e2d4c6a", "failed", "17:42", "30005")]),
    (
        "twilio",
        TWILIO_MESSAGES,
        [
            ("SM11111111111111111111111111111111", "seen", "17:40:05", None),
            ("SM11111111111111111111111111111111", "accepted", "17:40:01", None),
            ("SM11111111111111111111111111111111", "dispatched", "17:40:02", None),
            ("SM22222222222222222222222222222222", "received", "18:00:00", None),
            ("SM22222222222222222222222222222222", "accepted", "18:00:00", None),
            ("SM22222222222222222222222222222222", "dispatched", "18:00:00", None),
        ],
    ),
    (
        "infobip",
        INFOBIP,
        [
            ("2250be2d-4219-3af1-8ee8-c321e6c5a1fc", "delivered", "17:40:04.456", None),
            ("2250be2d-4219-3af1-8ee8-c321e6c5a1fc", "accepted", "17:40:01.123", None),
            ("2250be2d-4219-3af1-8ee8-c321e6c5a1fd", "failed", "17:40:09", "EC_ABSENT_SUBSCRIBER"),
            ("2250be2d-4219-3af1-8ee8-c321e6c5a1fd", "accepted", "17:40:02", "EC_ABSENT_SUBSCRIBER"),
        ],
    ),
    ("infobip", INFOBIP_SEEN, [("m-1", "accepted", "17:40:01", None), ("m-1", "seen", "17:42:01", None)]),
    ("vonage", VONAGE_MESSAGES, [("3f6c1f1e-6f2a-4f5e-9d61-0a3a3a0f9a01", "failed", "17:40:04.123", "1020")]),
    ("vonage", VONAGE_DLR, [("0A0000001234567B", "delivered", "17:40:07", "0")]),
    (  # as in the guide of the SMS API, whose times have a blank before the zone
        "vonage",
        VONAGE_DLR | {"message-timestamp": "2024-03-05 17:40:07 +0000"},
        [("0A0000001234567B", "delivered", "17:40:07", "0")],
    ),
    ("twilio", TWILIO_EVENT, [("SM5", "delivered", "17:40:06.5", None)]),
    (
        "vonage",
        VONAGE_REPORT,
        [("0B0000001234567C", "delivered", "17:40:08", "0"), ("0B0000001234567C", "accepted", "17:40:01", "0")],
    ),
    ("sinch", SINCH_SMS, [("01HR7Y0000000000000000000A", "dispatched", "17:40:04.123", "401")]),
    (
        "sinch",
        SINCH_CONVERSATION,
        [("01HR7Y0000000000000000000C", "failed", "17:40:04.123456", "RECIPIENT_NOT_REACHABLE")],
    ),
    (
        "whatsapp",
        WHATSAPP,
        [
            ("wamid.AAA=", "dispatched", "17:40:04", None),
            ("wamid.AAA=", "seen", "17:41:04", None),
            ("wamid.BBB=", "failed", "17:40:05", "131026"),
        ],
    ),
]


def rows_of(events: Any) -> list[Row]:
    times = [at.isoformat().removesuffix("+00:00") for at in events["happened_at"]]
    codes = [None if code != code else code for code in events["code"].astype("object")]
    return list(zip(events["message_id"], events["state"].astype("str"), times, codes, strict=True))


@pytest.mark.parametrize(("provider", "receipts", "expected"), EXPECTED)
@pytest.mark.parametrize("form", ["object", "list", "document", "lines"])
def test_receipts(tmp_path: Path, provider: str, receipts: Any, expected: list[Row], form: str) -> None:
    source: Any = receipts if form == "object" else [receipts]
    if form in ("document", "lines"):
        source = tmp_path / "receipts.json"
        source.write_text(json.dumps([receipts], indent=2) if form == "document" else json.dumps(receipts) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events = vk.read_events(source, provider=provider)
    day = [
        (message, state, pd.Timestamp(f"2024-03-05 {at}").isoformat(), code) for message, state, at, code in expected
    ]
    assert rows_of(events) == day
    assert events["naive"].tolist() == ["RawDlrDoneDate" in receipts] * len(events)
    assert events.attrs["skipped"] == []


def test_every_provider_has_an_example() -> None:
    with pytest.raises(ValueError, match="did you mean 'twilio'") as error:
        vk.read_events([], provider="twillio")
    names = str(error.value).partition("one of ")[2].split(", ")
    assert {provider for provider, *_ in EXPECTED} == {*names}


@pytest.mark.parametrize("provider", ["Twilio", "TWILIO"])
def test_the_export_of_the_console_has_times_of_sending_only(tmp_path: Path, provider: str) -> None:
    (tmp_path / "sms-log.csv").write_text(TWILIO_CSV)
    with pytest.warns(UncertainTimesWarning, match="SentDate is when the message was sent; it is taken as the time of"):
        events = vk.read_events(tmp_path / "sms-log.csv", provider=provider)
    assert rows_of(events) == [
        ("SM3", "delivered", "2024-03-05T17:40:02", "0"),
        ("SM4", "failed", "2024-03-05T17:41:02", "30003"),
    ]


def test_callbacks_without_a_time_need_that_of_their_receipt() -> None:
    callback = {name: value for name, value in TWILIO_CALLBACK.items() if name != "RawDlrDoneDate"}
    with pytest.raises(MissingColumn, match="happened_at"):
        vk.read_events([callback], provider="twilio")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events = vk.read_events([callback | {"at": 1709660404}], provider="twilio", columns={"happened_at": "at"})
    assert rows_of(events)[0][1:3] == ("failed", "2024-03-05T17:40:04")


def test_callbacks_saved_as_csv(tmp_path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, VONAGE_DLR, delimiter=";")
    writer.writeheader()
    writer.writerows([VONAGE_DLR, VONAGE_DLR | {"messageId": "x", "message-timestamp": ""}])
    (tmp_path / "dlr.csv").write_text(text.getvalue())
    events = vk.read_events(tmp_path / "dlr.csv", provider="vonage")
    assert [row[:3] for row in rows_of(events)] == [
        ("0A0000001234567B", "delivered", "2024-03-05T17:40:07"),
        ("x", "delivered", "2024-03-05T17:40:00"),
    ]


def test_failures_of_infobip_without_an_error_or_a_time_of_their_own() -> None:
    rejected = {
        "messageId": "r",
        "sentAt": "2024-03-05T17:40:02.000+0000",
        "status": {"groupId": 5, "groupName": "REJECTED", "id": 12, "name": "REJECTED_NOT_ENOUGH_CREDITS"},
        "error": {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR"},
    }
    expired = rejected | {
        "messageId": "e",
        "doneAt": "2024-03-05T17:50:02.000+0000",
        "status": {"groupId": 4, "groupName": "EXPIRED", "id": 15, "name": "EXPIRED_EXPIRED"},
    }
    source = {"results": [rejected, expired, *INFOBIP["results"], *INFOBIP_SEEN["results"]]}
    with pytest.warns(UncertainTimesWarning, match="sentAt is when the message was sent; it is taken as the time of"):
        events = vk.read_events(source, provider="infobip")
    day, code = "2024-03-05T", "REJECTED_NOT_ENOUGH_CREDITS"
    assert rows_of(events)[:4] == [
        ("r", "failed", f"{day}17:40:02", code),
        ("r", "accepted", f"{day}17:40:02", code),
        ("e", "expired", f"{day}17:50:02", "EXPIRED_EXPIRED"),
        ("e", "accepted", f"{day}17:40:02", "EXPIRED_EXPIRED"),
    ]
    assert (len(events), events.attrs["skipped"]) == (10, [])


def test_messages_of_one_batch_are_told_apart() -> None:
    other = SINCH_SMS | {"recipient": "447700900001", "status": "Delivered"}
    events = vk.read_events(
        [SINCH_SMS, other, SINCH_SMS | {"status": "Failed"}, SINCH_SMS | {"batch_id": "B"}], provider="sinch"
    )
    first, second, third, alone = events["message_id"]
    assert alone == "B"
    assert first == third != second
    assert first.startswith(SINCH_SMS["batch_id"] + "/")
    assert "447700" not in "".join(events["message_id"])


def test_inbound_messages_are_no_journeys() -> None:
    events = vk.read_events([TWILIO_MESSAGES], provider="twilio")
    assert events["inbound"].tolist() == [False] * 3 + [True] * 3
    assert vk.journeys(events)["message_id"].tolist() == ["SM11111111111111111111111111111111"]
    inbound = {
        "entry": [{"changes": [{"value": {"messages": [{"from": "1", "id": "wamid.C", "timestamp": "1709660404"}]}}]}]
    }
    with pytest.warns(vk.SkippedRowsWarning):
        events = vk.read_events([WHATSAPP, inbound], provider="whatsapp")
    assert len(events) == 3
    assert [(entry["line"], entry["reason"]) for entry in events.attrs["skipped"]] == [(2, "state: is missing")]


def test_times_without_a_start_name_the_states_that_there_are() -> None:
    events = vk.read_events([WHATSAPP], provider="whatsapp")
    with pytest.raises(
        ValueError, match="no message has a time of 'accepted'; the journeys have times of dispatched, seen, failed"
    ):
        vk.time_to(vk.journeys(events))
