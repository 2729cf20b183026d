"""What counts as a mention of a person, and what does not."""

from __future__ import annotations

import pytest

from feature_repo.history.erase_person import Person

ANN = Person("customer-17").known_by(["Ann.Lee@mail.example"])


@pytest.mark.parametrize(
    "text",
    [
        "ann.lee@mail.example",
        "ANN.LEE@MAIL.EXAMPLE",
        "To: <ann.lee@mail.example>, bob@mail.example",
        "https://shop.example/?e=ann.lee%40mail.example&x=1",
        "Dear customer-17.",
        "uid=customer-17&x",
        '{"to": "ann.lee\\u0040mail.example"}',
    ],
)
def test_an_address_or_a_distinct_id_is_a_mention(text: str) -> None:
    assert ANN.is_in_text(text)
    assert ANN.is_in_bytes(b"\x00\xff" + text.encode() + b"\x00")


@pytest.mark.parametrize(
    "text",
    ["joann.lee@mail.example", "ann.lee@mail.example.org", "customer-170", "customer-17-b", "Ann"],
)
def test_another_id_or_address_that_looks_alike_is_none(text: str) -> None:
    assert not ANN.is_in_text(text)
    assert not ANN.is_in_bytes(text.encode())


def test_a_short_number_is_no_mention_where_it_may_be_anything() -> None:
    assert not Person("17850").is_in({"price": 17850, "url": "https://shop.example/17850"})


def test_a_person_is_taken_out_of_what_json_says() -> None:
    said = {
        "to": ["ann.lee@mail.example", "bob@mail.example"],
        "message": '{"destination": ["ann.lee@mail.example"]}',
        "url": "https://shop.example/?e=ann.lee%40mail.example",
        "customer-17": 1,
    }

    left = ANN.without(said)

    assert left["to"] == [None, "bob@mail.example"]
    assert left["message"] == '{"destination": [null]}'
    assert left["url"] == "https://shop.example/?e=(erased)"
    assert not ANN.is_in(left)
