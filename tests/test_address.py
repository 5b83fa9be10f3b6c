"""Addresses: what is one, what is sent, and which two spellings are one mailbox."""

from __future__ import annotations

import unicodedata

import pytest
from email_validator import SPECIAL_USE_DOMAIN_NAMES, validate_email
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


# The glance --------------------------------------------------------------------------------------


def accepted(text: str) -> None:
    """What passes at a glance is what email-validator passes, unchanged."""
    if address.is_plain(text):
        found = validate_email(text, check_deliverability=False, strict=True)
        assert found.normalized == text == address.parse(text)
        assert address.key(text) == address.key(found.normalized)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ann@party.example", True),
        ("Ann.Lee+x_y-z@sub.party-1.example", True),
        ("a@1.example", True),
        ("x" * 63 + "@party.example", True),
        ("", False),
        ("ann@party.example\n", False),
        (" ann@party.example", False),
        ("ann@Party.example", False),  # usable, but not in its usual form
        ("ann.@party.example", False),
        ("an..n@party.example", False),
        ("-ann@party.example", False),
        ("ann@party", False),
        ("ann@party.example.", False),
        ("ann@-party.example", False),
        ("ann@party-.example", False),
        ("ann@xn--brcke-lva.example", False),  # is known in letters
        ("ann@ab--c.example", False),
        ("ann@192.0.2.1", False),
        ("ann@party.123", False),
        ("ann@" + "x" * 64 + ".example", False),
        ("x" * 65 + "@party.example", False),
        ("ann@" + "x." * 90 + "example", False),
        ("\u0430nn@party.example", False),
        ("ann@p\u0430rty.example", False),
    ],
)
def test_an_address_is_plain_at_a_glance_in_its_usual_form_only(text: str, plain: bool) -> None:
    assert address.is_plain(text) is plain
    accepted(text)


@pytest.mark.parametrize("name", SPECIAL_USE_DOMAIN_NAMES)
def test_special_names_never_pass_at_a_glance(name: str) -> None:
    for domain in (name, f"mail.{name}", f"a.b-c.{name}", f"x{name}.{name}", f"{name}.{name}"):
        accepted(f"ann{AT}{domain}")
        assert not address.is_plain(f"ann{AT}{domain}")
    for domain in (f"{name}.example", f"mail.{name}.example", f"x{name}.example"):
        accepted(f"ann{AT}{domain}")


_NEAR = "abyzABYZ0189._+-@'\n \t\u00e9\u0131\u212a\uff41\u0660/"
_LABEL = st.text("abz019-", min_size=1, max_size=6) | st.sampled_from(["xn--a", "ab--c", "x" * 63, "x" * 64])
_ENDING = st.sampled_from(["example", "org", "co.uk", "museum", "test1", "1", "x"])


@PROPERTY
@given(
    st.one_of(
        st.text(_NEAR, max_size=30),
        st.tuples(st.text(_NEAR, min_size=1, max_size=10), st.text(_NEAR, max_size=20)).map(AT.join),
        st.tuples(
            st.text("abzABZ019._+-", min_size=1, max_size=8)
            | st.sampled_from(["x" * n for n in (63, 64, 65)]),
            st.lists(_LABEL, min_size=1, max_size=4).map(".".join),
            st.sampled_from([*SPECIAL_USE_DOMAIN_NAMES, "example"]) | _ENDING,
        ).map(lambda three: f"{three[0]}{AT}{three[1]}.{three[2]}"),
        st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 6)).map(
            lambda n: f"{'l' * n[0]}{AT}{'.'.join(['d' * n[1]] * n[2])}.example"
        ),
    )
)
def test_whatever_passes_at_a_glance_is_an_address_as_it_stands(text: str) -> None:
    accepted(text)


# Mending -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (" ann@party.example", "spaces were taken off"),
        ("ann@party.example\n", "spaces were taken off"),
        ("\u00a0ann@party.example\u3000", "spaces were taken off"),
        ("ann @party.example", "spaces were taken out"),
        ("ann@ party.example", "spaces were taken out"),
        ("ann@party .example", "spaces were taken out"),
        ("ann@party. example", "spaces were taken out"),
        ("ann @ party . example", "spaces were taken out"),
        ("an\u200bn@party.example", "invisible characters were taken out"),
        ("ann@par\u00adty.example", "invisible characters were taken out"),
        ("\ufeffann@party.example", "invisible characters were taken out"),
        ("\u202aann@party.example\u202c", "invisible characters were taken out"),
        ("a\x01nn\x7f@party.example", "invisible characters were taken out"),
        ("mailto:ann@party.example", "mailto: was taken off"),
        ("MAILTO:ann@party.example?subject=Hello", "mailto: was taken off"),
        ("mailto://ann@party.example", "mailto: was taken off"),
        ("mailto:ann%40party.example", "mailto: was taken off"),
        ("<ann@party.example>", "the brackets were taken off"),
        ("<mailto:ann@party.example>", "the brackets were taken off"),
        ("ann@party.example <ann@party.example>", "the brackets were taken off"),
        ("Office: ann@party.example", "the words around it were taken off"),
        ("ann@party.example (office)", "the words around it were taken off"),
        ("ann@party.example.", "signs around it were taken off"),
        ("ann@party.example...", "signs around it were taken off"),
        (".ann@party.example", "signs around it were taken off"),
        ("'ann@party.example'", "signs around it were taken off"),
        ("'ann@party.example", "signs around it were taken off"),  # as spreadsheets mark a text
        ("* ann@party.example", "signs around it were taken off"),
        ("*ann@party.example", "signs around it were taken off"),
        ("/ann@party.example", "signs around it were taken off"),
        ("\u201eann@party.example\u201c", "signs around it were taken off"),
        ("\u00abann@party.example\u00bb", "signs around it were taken off"),
        ("ann@party.example,", "read as ann@party.example"),
        ("ann@party.example;", "read as ann@party.example"),
        ("\uff41\uff4e\uff4e\uff20\uff50\uff41\uff52\uff54\uff59\uff0e\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45",
         "full-width characters were made plain"),
        ("ann\uff20party.example", "full-width characters were made plain"),
        ("ann@party\u3002example", "full-width characters were made plain"),
        ("ann(at)party.example", "a written-out @ or dot was read as one"),
        ("ann (at) party (dot) example", "a written-out @ or dot was read as one"),
        ("ann [AT] party.example", "a written-out @ or dot was read as one"),
        ("ann{at}party[dot]example", "a written-out @ or dot was read as one"),
        ("ann <at> party.example", "a written-out @ or dot was read as one"),
        ("ann(собака)party(точка)example", "a written-out @ or dot was read as one"),
        ("ann at party dot example", "a written-out @ or dot was read as one"),
        ("ann AT party.example", "a written-out @ or dot was read as one"),
    ],
)  # fmt: skip
def test_a_slip_that_can_mean_one_thing_only_is_repaired_and_reported(cell: str, said: str) -> None:
    mended = address.mend(cell)
    assert mended.addresses == ("ann@party.example",), mended
    assert mended.said == (said,)
    assert not mended.problem


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("o\u2019hara@party.example", "o'hara@party.example"),
        ("o\u2018hara@party.example", "o'hara@party.example"),
        ("o\u00b4hara@party.example", "o'hara@party.example"),
    ],
)
def test_a_typographic_apostrophe_is_made_plain(cell: str, found: str) -> None:
    assert address.mend(cell) == address.Mended((found,), ("a typographic apostrophe was made plain",))


@pytest.mark.parametrize(
    "cell",
    [
        "ann@party.example",
        "Ann.Lee@party.example",
        "o'hara@party.example",
        "ann/bo@party.example",
        "-ann@party.example",
        "ann@brücke.example",
        "ann@президент.example",
        "иван@пример.example",
        "grüße@party.example",
        "李伟@party.example",
        "ann+list@party.example",
    ],
)
def test_an_address_that_is_in_order_is_kept_without_a_word(cell: str) -> None:
    assert address.mend(cell) == address.Mended((cell,))


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("Ann <ann@party.example>", "Ann"),
        ("Ann Lee <ann@party.example>", "Ann Lee"),
        ("Ann Lee<ann@party.example>", "Ann Lee"),
        ('"Ann Lee" <ann@party.example>', "Ann Lee"),
        ('"Lee, Ann" <ann@party.example>', "Lee, Ann"),
        ("Lee, Ann <ann@party.example>", "Lee, Ann"),
        ("'Ann Lee' <ann@party.example>", "Ann Lee"),
        ("Ann Lee (MP) <ann@party.example>", "Ann Lee (MP)"),
        ("Жанна д’Арк <ann@party.example>", "Жанна д’Арк"),
        ("Ann Lee ann@party.example", "Ann Lee"),
        ("Ann Lee (ann@party.example)", "Ann Lee"),
        ("Ann Lee - ann@party.example", "Ann Lee"),
        ("Анна Ли ann@party.example", "Анна Ли"),
        ("please write to ann@party.example", ""),
        ("Tel. 12 34 ann@party.example", ""),
        ("Office: ann@party.example", ""),
        ("ann@party.example <ann@party.example>", ""),
    ],
)
def test_the_name_around_an_address_is_told_where_it_can_be_one(cell: str, name: str) -> None:
    mended = address.mend(cell)
    assert (mended.addresses, mended.name) == (("ann@party.example",), name)
    assert len(mended.said) == 1


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("a@x.example; b@x.example", "ab"),
        ("a@x.example,b@x.example c@x.example\nd@x.example", "abcd"),
        ("a@x.example / b@x.example", "ab"),
        ("a@x.example|b@x.example", "ab"),
        ("a@x.example\tb@x.example", "ab"),
        ("a@x.example\x0bb@x.example", "ab"),  # a line break of Excel
        ("a@x.example or b@x.example", "ab"),
        ("a@x.example und b@x.example & c@x.example", "abc"),
        ("a@x.example и b@x.example", "ab"),
        ("a@x.example، b@x.example؛ c@x.example", "abc"),
        ("a@x.example、b@x.example，c@x.example；d@x.example", "abcd"),
        ("Ann <a@x.example>, Bo Ray <b@x.example>", "ab"),
        ("mailto:a@x.example; mailto:b@x.example", "ab"),
        ("a@x.example (office), b@x.example", "ab"),
        ("a@x.example; A@X.example; b@x.example", "ab"),
    ],
)
def test_of_several_addresses_in_a_cell_the_first_is_the_main_one_and_all_are_named(
    cell: str, parts: str
) -> None:
    mended = address.mend(cell)
    assert mended.addresses == tuple(f"{one}@x.example" for one in parts)
    assert all(one in mended.said[-1] for one in mended.addresses)


@pytest.mark.parametrize(
    ("cell", "found", "unusable"),
    [
        ("n/a; a@x.example", ("a@x.example",), "n/a"),
        ("a@x.example; tel 12", ("a@x.example",), "tel 12"),
        ("a@x.example; b@@x.example", ("a@x.example",), "b@@x.example"),
        ("ann@x,example; b@x.example", ("b@x.example",), "ann@x"),
        ("ann lee@x.example; b@x.example", ("b@x.example",), "ann lee@x.example"),
        ("a@x.example,ann,bo@x.example", ("a@x.example",), "ann,bo@x.example"),
        ("a@x.example b@x.example nobody", ("a@x.example", "b@x.example"), "nobody"),
    ],
)
def test_what_is_unusable_among_several_addresses_is_named(
    cell: str, found: tuple[str, ...], unusable: str
) -> None:
    mended = address.mend(cell)
    assert mended.addresses == found
    assert f"unusable: {unusable}" in mended.said[-1]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("ann@party.examplebo@party.example", ("ann@party.example", "bo@party.example")),
        ("ann@party.examplebo@movement.example", ("ann@party.example", "bo@movement.example")),
        (f"ann{AT}party.debo@party.example", (f"ann{AT}party.de", "bo@party.example")),
        (f"ann{AT}party.combo@party.example", (f"ann{AT}party.com", "bo@party.example")),
        (f"ann{AT}party.org.ukbo@party.example", (f"ann{AT}party.org.uk", "bo@party.example")),
        (f"ann{AT}party.deinfo{AT}party.de", (f"ann{AT}party.de", f"info{AT}party.de")),
    ],
)
def test_two_addresses_glued_together_are_cut_apart(cell: str, found: tuple[str, ...]) -> None:
    mended = address.mend(cell)
    assert mended.addresses == found
    assert mended.said[0] == "two addresses were glued together"


@pytest.mark.parametrize(
    ("cell", "suggestion"),
    [
        ("ann lee@party.example", "annlee@party.example?"),
        ("j. smith@party.example", "j.smith@party.example?"),
        ("ann_ lee@party.example", "ann_lee@party.example?"),
        ("ann@party,example", "ann@party.example?"),
        ("ann,lee@party.example", "ann.lee@party.example?"),
        ("ann@@party.example", "ann@party.example?"),
        ("ann..lee@party.example", "ann.lee@party.example?"),
        ("ann.@party.example", "ann@party.example?"),
        ("ann@party..example", "ann@party.example?"),
        ("ann#party.example", "ann@party.example?"),
        ("ann@mail.x. example", "ann@mail.x.example?"),
        ("ann@party.example bo", "ann@party.example?"),
        ("ann@party.example - office", "ann@party.example?"),
        ("{ann,bo}@party.example", None),
        ("Dr. lee@party.example", None),
        ("Ann ann@party.example", None),
        (f"ann{AT}party.net@x.example", ""),
        (f"ann{AT}party.info@x.example", ""),
        ("a@b@c", ""),
        ("https://party.example/@ann", ""),
        ("http://ann@party.example", ""),
        ("available at www.party.example", ""),
        ("@ann", ""),
        ("nobody", ""),
        ("", ""),
        (" \u200b ", ""),
        ("'", ""),
        ("'@party.example", ""),
        ("x" * 5000 + "@party.example", ""),
    ],
)
def test_what_may_mean_several_things_is_never_guessed_only_suggested(
    cell: str, suggestion: str | None
) -> None:
    mended = address.mend(cell)
    assert (mended.addresses, mended.name) == ((), "")
    assert mended.problem
    if suggestion is not None:
        assert mended.suggestion == suggestion


def test_a_cell_of_sixty_addresses_is_cut_short_not_in_silence() -> None:
    mended = address.mend("; ".join(f"a{n}@x.example" for n in range(60)))
    assert len(mended.addresses) == 50
    assert "60 addresses, of which 50 are kept" in mended.said


_PIECES = [
    *".,;<>()/='\"\\@ \n\0\1",
    "a@x.example",
    "Ann",
    "lee",
    "b@брюке.example",
    "(at)",
    "mailto:",
    " at ",
    "://",
]
_CELL = st.lists(
    st.sampled_from([*_PIECES, "x.example", "\u2019", "\uff20", "\u200b"]), max_size=12
).map("".join) | st.text(max_size=60)  # fmt: skip


@PROPERTY
@given(_CELL)
def test_any_cell_ends_as_addresses_that_are_in_order_or_as_a_problem(cell: str) -> None:
    mended = address.mend(cell)
    assert bool(mended.addresses) != bool(mended.problem)
    for one in mended.addresses:
        assert address.parse(one) == one
        assert address.mend(one) == address.Mended((one,))
    assert len({address.key(one) for one in mended.addresses}) == len(mended.addresses)
    if mended.addresses and mended.addresses[0] != cell:
        assert mended.said or address.parse(cell) == mended.addresses[0], "nothing is repaired in silence"
    if mended.suggestion:
        assert address.parse(mended.suggestion.removesuffix("?"))


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
