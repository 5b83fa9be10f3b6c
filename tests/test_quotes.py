# ruff: noqa: E501 - tables read better with a case on a line
"""What a person wrote: never a word less, and of the quoted letter not a line, in the shapes of many programs."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from outreach import hypertext, quotes

LETTER = ["Dear friends,", "", "people are in prison for a demonstration.", "Please write to the embassy."]
FOOTER = "Reply with the word STOP and we will never write to this address again."
MARKED = "\n".join(f"> {line}".rstrip() for line in [*LETTER, "", FOOTER])
PLAIN = "\n".join([*LETTER, "", FOOTER])

# How programs lead to the letter they quote; {0} is the letter, marked or not.
SHAPES = {
    "Gmail": f"On Mon, 14 May 2012 at 10:05, Committee <press@committee.example> wrote:\n\n{MARKED}",
    "Gmail, wrapped": "On Mon, 14 May 2012 at 10:05, Solidarity Committee\n"
    f"<press@committee.example> wrote:\n\n{MARKED}",
    "Gmail, cut at the address": "Em seg., 14 de mai. de 2012 às 10:05, Committee <press@committee.example\n"
    f"> escreveu:\n\n{MARKED}",
    "Gmail, de": f"Am Mo., 14. Mai 2012 um 10:05 Uhr schrieb Committee <press@committee.example>:\n\n{MARKED}",
    "Thunderbird, fr": f"Le 14/05/2012 à 10:05, Committee a écrit :\n{MARKED}",
    "Apple Mail, es": f"El 14 may 2012, a las 10:05, Committee <press@committee.example> escribió:\n\n{MARKED}",
    "Apple Mail, unmarked": f"On 14 May 2012, at 10:05, Committee <press@committee.example> wrote:\n\n{PLAIN}",
    "mail.ru": f"Понедельник, 14 мая 2012, 10:05 +04:00 от Committee <press@committee.example>:\n\n{MARKED}",
    "Yahoo": f"--- On Mon, 14/5/12, Committee <press@committee.example> wrote:\n\n{PLAIN}",
    "Outlook": "From: Committee [mailto:press@committee.example]\nSent: Monday, May 14, 2012 10:05\nTo: Ann\n"
    f"Subject: Solidarity\n\n{PLAIN}",
    "Outlook, ruled": "-----Original Message-----\nFrom: Committee [mailto:press@committee.example]\n"
    f"Sent: Monday, May 14, 2012 10:05\nTo: Ann\nSubject: Solidarity\n\n{PLAIN}",
    "Outlook, de": "Von: Committee <press@committee.example>\nGesendet: Montag, 14. Mai 2012 10:05\nAn: Anna\n"
    f"Betreff: Solidarität\n\n{PLAIN}",
    "Outlook, pl": "________________________________\nOd: Committee <press@committee.example>\nWysłano: 14 maja 2012 10:05\n"
    f"Do: Anna\nTemat: Solidarność\n\n{PLAIN}",
    "Outlook.com, ar": "________________________________\nمن: Committee <press@committee.example>\n"
    f"تم الإرسال: 14 مايو 2012\nإلى: Ann\nالموضوع: تضامن\n\n{PLAIN}",
    "Foxmail": "发件人： Committee\n发送时间： 2012-05-14 10:05\n收件人： ann@party.example\n主题： Solidarity\n\n"
    + PLAIN,
    "GroupWise": f">>> Committee <press@committee.example> 05/14/12 10:05 >>>\n{PLAIN}",
    "Proton": f"‐‐‐‐‐‐‐ Original Message ‐‐‐‐‐‐‐\nOn Monday, May 14th, 2012 at 10:05, Committee <p@committee.example> wrote:\n\n{MARKED}",
    "The Bat!": "\n".join(f"SC> {line}" for line in LETTER if line),
    "Lotus Notes": "Committee <press@committee.example>\n14.05.2012 10:05\n\nAn\nanna@partei.example\nKopie\n\nThema\nSolidarität\n\n"
    + PLAIN,
    "nothing but marks": MARKED,
}
# Words that a careless cut would lose.
SAYINGS = [
    "We sign the appeal, and our branch meets on 2 May.",
    "Thank you!",
    "Thanks. We raised it on Monday.",
    "Date: 5 December, 19:00\nPlace: in front of the embassy\nSubject: freedom for the prisoners.",
    "On 2 May the Foreign Office wrote to us: nothing is known there.",
    "The contents of this letter were discussed by our board.",
    "From Leeds to Moscow: we are with you.",
    "Best wishes to all the prisoners, and tell them that we wait for them.",
    "1. sign the appeal\n2. write to the ambassador\n3. print five hundred leaflets.",
    "Our numbers are 020 7946 0000 and 020 7946 0001, please call on Tuesday.",
    "Regards to your colleagues in Berlin, who wrote to us last year as well.",
    "---\nA poem from the prison is printed in our paper.",
    "Forwarded to the committee, and their answer is below: they agree with every word.",
    "Bitte schicken Sie uns das Material auf Deutsch.",
    "Спасибо! Мы подпишем обращение завтра.",
    "ありがとうございます。賛同します。",
    "PS is the name of our party, and it stands with you.",
]
ENDS = [
    "",
    "\n\nBest regards,\nAnn Lee\nSecretary, Party of Work\nTel. 020 7946 0000",
    "\n\nMit freundlichen Grüßen\n\nAnna Muster\nAbgeordnete",
    "\n\n-- \nAnn Lee\nwww.party.example",
    "\n\nSent from my iPhone",
    "\n\nС уважением,\nИванова А. П.",
    "\n\nAnn",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(SAYINGS), min_size=1, max_size=4, unique=True),
    st.sampled_from(ENDS),
    st.sampled_from(sorted(SHAPES)),
)
def test_no_word_is_lost_and_no_line_of_the_letter_stays(said: list[str], end: str, shape: str) -> None:
    assume(not (said[-1] == "Thank you!" and end.strip() == "Ann"))  # that is how a letter ends
    words = "\n\n".join(said)
    shown = quotes.visible(f"{words}{end}\n\n{SHAPES[shape]}\n")
    lines = [line for line in words.split("\n") if line.strip() and line != "---"]
    assert [line for line in lines if line not in shown] == []
    assert not any(line in shown for line in (*LETTER, FOOTER) if line)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("end", [end for end in ENDS if end and end.strip() != "Ann"])
def test_signatures_go_and_what_is_above_stays(shape: str, end: str) -> None:
    assert quotes.visible(f"We sign it.{end}\n\n{SHAPES[shape]}") == "We sign it."


@pytest.mark.parametrize(
    "text",
    [
        f"{MARKED.splitlines()[0]}\nWe read it.\n{MARKED.splitlines()[2]}\nWe did.",
        f"On 14 May 2012 10:05, Committee wrote:\n{MARKED}\n\nHere is our answer. We sign it.",
        "Dear all,\n\n> people are in prison for a demonstration.\n\nWe know.\n\n> Please write to the embassy.\n\nWe wrote.",
    ],
)
def test_answers_below_and_between_stay_whole(text: str) -> None:
    assert quotes.visible(text) == text


def test_the_end_of_a_wrapped_quoted_line_is_no_answer() -> None:
    text = (
        "Yes.\n\n> people are in prison for a demonstration on the sixth of May, in\nmoscow.\n> Please write."
    )
    assert quotes.visible(text) == "Yes."


@pytest.mark.parametrize(
    "mark", ["P.S.", "PS:", "П.С.", "З.І.", "Υ.Γ.", "נ.ב.", "追伸：", "附言：", "ملاحظة:"]
)
def test_a_postscript_stays(mark: str) -> None:
    shown = quotes.visible(
        f"We sign it.\n\nBest regards,\nAnn Lee\n\n{mark} Send us the leaflet.\n\n{SHAPES['Gmail']}"
    )
    assert shown == f"We sign it.\n\n{mark} Send us the leaflet."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Best regards,\nAnn", "Best regards,\nAnn"),  # all there is
        ("Yes\n\n/Ann", "Yes"),
        ("Yes.\n\n-Ann Lee", "Yes."),
        (
            "Yes.\n--\nWe mean it, all of us here.\n--\nReally.",
            "Yes.\n--\nWe mean it, all of us here.\n--\nReally.",
        ),
        (
            "Sent from my desk, which is easier than my phone.",
            "Sent from my desk, which is easier than my phone.",
        ),
        ("Thank you.\n\nPlease take me off your list.", "Thank you.\n\nPlease take me off your list."),
        ("Thanks\nplease remove me from your list", "Thanks\nplease remove me from your list"),
        ("", ""),
        (MARKED, PLAIN),
        ("\n\n\n", ""),
        ("Ja.\n\n\n\n\nNein.", "Ja.\n\nNein."),
    ],
)
def test_small_answers(text: str, shown: str) -> None:
    assert quotes.visible(text) == shown


def test_a_legal_paragraph_goes_only_where_the_words_have_ended() -> None:
    legal = "This e-mail is confidential. If you are not the intended recipient, please delete it."
    assert quotes.visible(f"We sign.\n\nRegards,\nAnn\n\n{legal}") == "We sign."
    assert quotes.visible(f"We sign.\n\n{legal}") == "We sign."
    said = "This message is confidential, so please do not print our names before Friday."
    assert quotes.visible(f"{said}\n\nWe sign.") == f"{said}\n\nWe sign."


def test_long_texts_take_no_longer_than_long() -> None:
    """A generous bound, on the processor's time: what explodes takes minutes."""
    start = time.process_time()
    for text in ("> x\n", "On \n", "Regards,\n", "a:\n", "x", "-- \n"):
        quotes.visible((text * 200_000)[:200_000])
    assert time.process_time() - start < 30


# HTML ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>One</p><p>Two<br>three</p>", "One\n\nTwo\nthree"),
        ("<div>One</div><div>Two</div>", "One\nTwo"),
        ('<div>Yes</div><blockquote type="cite"><div>quoted</div></blockquote>', "Yes\n\n> quoted"),
        ('<p>Yes</p><blockquote class="gmail_quote"><p>a</p><p>b</p></blockquote>', "Yes\n\n> a\n>\n> b"),
        (
            'Yes<blockquote style="margin:0 0 0 40px;border:none;padding:0px">indented</blockquote>',
            "Yes\n\nindented",
        ),
        ("Yes<blockquote>indented</blockquote>", "Yes\n\nindented"),
        ('Yes<div name="quote" style="border-left:2px solid #C3D9E5"><p>a</p></div>', "Yes\n\n> a"),
        ("<ol><li>a</li><li>b</li></ol><ul><li>c</li></ul>", "1. a\n2. b\n\n* c"),
        ("<p>a<p>b<blockquote type=cite><p>q<p>r</blockquote>c", "a\n\nb\n\n> q\n>\n> r\n\nc"),
        ("<style>p{}</style><script>x()</script><p style='display:none'>no</p>Yes", "Yes"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a\tb\nc"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("a &amp; b&nbsp;&lt;c&gt; &#x416;", "a & b <c> Ж"),
        ("<p>never closed", "never closed"),
        ("<![CDATA[x", ""),
        ("a<hr>b", "a\n" + "_" * 32 + "\nb"),
    ],
)
def test_html_is_read_as_a_reader_sees_it(source: str, text: str) -> None:
    assert hypertext.to_text(source) == text


def test_deep_and_broken_html_is_read_in_time() -> None:
    start = time.process_time()
    for source in ("<div>", "<blockquote type=cite>", "<", "<p ", "&", "<!--", "<![CDATA[", "<a href='"):
        hypertext.to_text(source * 50_000)
    assert time.process_time() - start < 30
