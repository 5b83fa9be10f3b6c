"""Addresses: what is one, what is sent, and which two spellings are one mailbox."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import address
from outreach.address import AddressError

AT = "@"  # some tests need addresses that are no examples; none is written out
BRUECKE = "xn--brcke-lva.example"
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ann@party.example", "ann@party.example"),
        ("  ann@party.example\t\n", "ann@party.example"),
        ("Ann.Lee@Party.EXAMPLE", "Ann.Lee@party.example"),  # the local part stays as written
        ("ann+list@party.example", "ann+list@party.example"),
        ("a.n.n@party.example", "a.n.n@party.example"),
        ("o'hara@party.example", "o'hara@party.example"),
        ("a/b=c_d-e@party.example", "a/b=c_d-e@party.example"),
        ("ann@sub.party.example", "ann@sub.party.example"),
        ("ann@brücke.example", "ann@brücke.example"),
        ("ann@BRÜCKE.example", "ann@brücke.example"),
        (f"ann@{BRUECKE}", "ann@brücke.example"),
        (f"ann@{BRUECKE.upper()}", "ann@brücke.example"),
        ("ann@bru\u0308cke.example", "ann@brücke.example"),
        ("ivan@президент.example", "ivan@президент.example"),
        ("ann@faß.example", "ann@faß.example"),  # IDNA 2008: not ss
        ("иван@пример.example", "иван@пример.example"),
        ("gru\u0308ße@party.example", "grüße@party.example"),
        ("x" * 64 + "@party.example", "x" * 64 + "@party.example"),
        ("ann@" + "x" * 63 + ".example", "ann@" + "x" * 63 + ".example"),
    ],
)
def test_an_address_is_stripped_normalised_and_kept_as_written_before_the_at(text: str, parsed: str) -> None:
    assert address.parse(text) == parsed
    assert unicodedata.is_normalized("NFC", address.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n/a",
        "ann",
        "ann@",
        "@party.example",
        "ann@party",
        "ann@localhost",
        "ann@@party.example",
        "ann@party@example.org",
        "ann lee@party.example",
        "ann@party .example",
        ".ann@party.example",
        "ann.@party.example",
        "an..n@party.example",
        "ann@party..example",
        "ann@.party.example",
        "ann@party.example.",
        "ann@-party.example",
        "ann@party_x.example",
        "ann@" + "x" * 64 + ".example",
        "Ann Lee <ann@party.example>",
        "<ann@party.example>",
        '"ann lee"@party.example',
        "mailto:ann@party.example",
        "ann@[192.0.2.1]",
        "ann@party.example,",
        "ann@party.example; bo@party.example",
        "ann@party.example\nBcc: bo@party.example",
        "an\r\nn@party.example",
        "an\0n@party.example",
        "an\u200bn@party.example",
        "ann@\u200bparty.example",
        "😀@party.example",
        "ann@😀.example",
        "o’hara@party.example",  # a word processor's apostrophe: the mailbox has the plain one
        "“ann”@party.example",
        f"ann{AT}x.test",
        f"ann{AT}x.invalid",
        f"ann{AT}printer.local",
    ],
)
def test_what_no_reader_can_have_meant_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        address.parse(text)
    assert str(caught.value).strip()
    assert isinstance(caught.value, ValueError)


def test_the_typographic_apostrophe_is_named() -> None:
    with pytest.raises(AddressError, match="’"):
        address.parse("o’hara@party.example")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@party.example", "ANN@PARTY.EXAMPLE"),
        ("Ann.Lee@party.example", "ann.lee@Party.Example"),
        ("ann@brücke.example", f"ANN@{BRUECKE}"),
        ("ann@BRÜCKE.example", "ann@bru\u0308cke.example"),
        ("grüße@party.example", "GRÜSSE@party.example"),
        ("u\u0308@party.example", "Ü@party.example"),
        ("ΑΣ@party.example", "ας@party.example"),  # both sigmas fold to one
        ("ИВАН@party.example", "иван@party.example"),
        (" ann@party.example ", "ann@party.example"),
        ("ann@party.example\n", "ann@party.example"),
    ],
)
def test_two_spellings_of_one_mailbox_have_one_key(one: str, other: str) -> None:
    assert address.key(one) == address.key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@party.example", "ann+list@party.example"),
        ("annlee@party.example", "ann.lee@party.example"),
        ("ann@party.example", "ann@sub.party.example"),
        ("ann@brücke.example", "ann@bruecke.example"),
        ("ann@faß.example", "ann@fass.example"),
        ("ann@party.example", "anne@party.example"),
    ],
)
def test_plus_tags_dots_and_other_domains_are_other_mailboxes(one: str, other: str) -> None:
    assert address.key(one) != address.key(other)


@pytest.mark.parametrize(
    ("text", "wire", "smtputf8"),
    [
        ("Ann.Lee+x@party.example", "Ann.Lee+x@party.example", False),
        ("ann@brücke.example", f"ann@{BRUECKE}", False),
        ("ivan@президент.example", "ivan@xn--d1abbgf6aiiy.example", False),
        ("иван@пример.example", "иван@xn--e1afmkfd.example", True),
        ("grüße@party.example", "grüße@party.example", True),
    ],
)
def test_the_domain_travels_as_a_label_and_only_the_local_part_asks_for_smtputf8(
    text: str, wire: str, smtputf8: bool
) -> None:
    assert address.wire(address.parse(text)) == wire
    assert address.needs_smtputf8(text) is smtputf8
    assert address.domain(text) == wire.rpartition("@")[2]


@pytest.mark.parametrize(
    ("mail", "reserved"),
    [
        ("ann@party.example", True),
        ("ann@PARTY.EXAMPLE", True),
        ("ann@brücke.example", True),
        ("ann@example.org", True),
        (f"ann{AT}example.com", True),
        (f"ann{AT}example.net", True),
        ("ann@mail.example.org", True),
        (f"ann{AT}host.test", True),
        (f"ann{AT}notexample.org", False),
        (f"ann{AT}example.org.uk", False),
        (f"ann{AT}example.info", False),
        ("ann@examples", False),
    ],
)
def test_documentation_domains_are_known(mail: str, reserved: bool) -> None:
    assert address.is_reserved(mail) is reserved


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("", []),
        (" ; , ", []),
        ("a@x.example", ["a@x.example"]),
        ("a@x.example; b@x.example", ["a@x.example", "b@x.example"]),
        ("a@x.example,b@x.example c@x.example\nd@x.example", [f"{c}@x.example" for c in "abcd"]),
    ],
)
def test_a_cell_is_cut_at_commas_semicolons_and_blanks(cell: str, parts: list[str]) -> None:
    assert address.split(cell) == parts


_LOCAL = st.text("abzABZ09._+-'éßüÉİǰΣςж\u0308", min_size=1, max_size=12)
_DOMAIN = st.sampled_from(["party.example", "BRÜCKE.example", BRUECKE, "example.org", "пример.example"])


@PROPERTY
@given(_LOCAL, _DOMAIN)
def test_parsing_keys_and_wire_forms_are_stable(local: str, domain: str) -> None:
    try:
        parsed = address.parse(f"{local}@{domain}")
    except AddressError:
        return
    assert address.parse(parsed) == parsed
    key = address.key(parsed)
    assert address.key(key) == key
    assert address.key(address.wire(parsed)) == key
    assert address.key(parsed.upper()) == address.key(parsed.upper().lower())
    assert address.domain(parsed).isascii()


@PROPERTY
@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    try:
        parsed = address.parse(text)
    except AddressError:
        return
    assert not set(parsed) & set("\r\n\0<>,; ")
    address.key(parsed)
    address.wire(parsed)
