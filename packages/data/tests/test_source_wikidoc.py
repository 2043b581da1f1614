import bz2
import gzip
import re
from collections import Counter
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED, JoinedDigits
from medalpaca_data.core.row import Row
from medalpaca_data.formats import mediawiki
from medalpaca_data.formats.wikitext import wiki_sections, wiki_text
from medalpaca_data.sources import WikiDoc
from medalpaca_data.sources.base import Reject
from medalpaca_data.sources.wiki_pages import make_question, split_title

LONG = "It comes with the wind of spring and goes when the last of the snow is gone."
ITCH = f"""{{{{Itch}}}}
'''Editor-In-Chief:''' [[User:Doe|J. Doe]]; {{{{AE}}}} R. Roe
[[File:itch.jpg|thumb|right|200px|A [[skin|patch of skin]]]]
'''Spring itch''' is an itch of the [[skin]]<ref name="a">Doe, 2001</ref> that comes back every year, mostly in ''May''.
== Causes ==
* [[Pollen]] of many kinds of trees, grasses and weeds
** [http://example.org wool], and levels &lt;5 µg &nbsp; of dust
{{| class="wikitable"
|-
| a || b
|}}
=== In children ===
{LONG} <!-- not said -->
== Differentiating Spring itch from other Diseases ==
{LONG}<ref name=a/> [[Image:b.jpg|thumb|left|open
== See also ==
* [[Cough]]
== Treatment ==
* [[Water]]
* [http://example.org Soap]
== Prognosis ==
Good.
== Complications ==
<gallery>
File:c.jpg|caption
</gallery>
[[Category:Itches]] [[de:Juckreiz]]
== References ==
{{{{reflist|2}}}}
"""


def page(title, text, *, ns=0, extra="", revision=77):
    return (
        f"<page><title>{escape(title)}</title><ns>{ns}</ns><id>5</id>{extra}<revision><id>{revision}</id>"
        f'<contributor><username>Doe</username></contributor><text xml:space="preserve">{escape(text)}</text>'
        "</revision></page>\n"
    )


def export(*pages):
    start = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n'
    return f"{start}<siteinfo><sitename>wikidoc</sitename></siteinfo>\n{''.join(pages)}</mediawiki>\n"


SITE = export(
    page("Spring itch", ITCH),
    page("Spring itch medical therapy", f"==Overview==\n{LONG}\n==Drugs==\n{LONG}"),
    page("Itch of spring", "#REDIRECT [[Spring itch]]"),
    page("Vernal itch", "", extra='<redirect title="Spring itch"/>'),
    page("Talk:Spring itch", LONG, ns=1),
    page("Itch (disambiguation)", "{{disambig}}\n* [[Spring itch]]"),
    page("Winter itch", "{{med-stub}} It is cold."),
    page("Spring itch (patient information)", f"==What causes it?==\n{LONG}"),
    page("Empty itch", "{{nothing}}"),
    page("Broken itch", "==Causes==\n" + "{{a|" * 9000),
)
SAVED = f"""<html><head><title>Spring itch - wikidoc</title><script>var x = {{"wgRevisionId":99}};</script></head><body>
<h1 id="firstHeading">Spring itch</h1><div id="mw-content-text"><div class="mw-parser-output">
<div class="toc"><h2>Contents</h2></div>
<table class="infobox"><tr><td>box<table><tr><td>in</td></tr></table></td></tr></table>
<div class="mw-heading"><h2><span>Causes</span><span class="mw-editsection">[edit]</span></h2></div>
<p>{LONG}<sup class="reference">[1]</sup> H<sub>2</sub>O.</p><ul><li><a>Dust</a> and wool</li></ul>
<h2>Symptoms</h2><ul><li><a>Itch</a></li><li><a>Cough</a></li></ul></div></div></body></html>"""


def read(root, name, **settings):
    records = list(WikiDoc(path=name, **settings).records(root))
    return [r for r in records if isinstance(r, Row)], [r for r in records if isinstance(r, Reject)]


@pytest.mark.parametrize("name", ["site.xml", "site.xml.gz", "site.xml.bz2"])
def test_a_generated_export(write, tmp_path, name):
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(name[-4:].lstrip("l"), bytes)
    write(name, pack(SITE.encode()))
    rows, rejects = read(tmp_path, name)
    assert [(r.instruction, r.output) for r in rows] == [
        (
            "What is Spring itch?",
            "Spring itch is an itch of the skin that comes back every year, mostly in May.",
        ),
        (
            "What are the causes of Spring itch?",
            "- Pollen of many kinds of trees, grasses and weeds\n- wool, and levels <5 µg of dust",
        ),
        ("What are the causes of Spring itch? (the part on In children)", LONG),
        ("How is Spring itch told apart from other diseases?", LONG),
        ("How is Spring itch treated with medicines? Answer in short.", LONG),
        ("How is Spring itch treated with medicines? (the part on Drugs)", LONG),
    ]
    assert Counter((r.reason, r.by_rule) for r in rejects) == {
        ("a heading that makes no question", True): 2,
        ("a list of links only", True): 1,
        ("answer too short", True): 1,
        ("no text under the heading", True): 1,
        ("a redirect", True): 2,
        ("a page outside the main namespace", True): 1,
        ("a disambiguation page", True): 1,
        ("a stub page", True): 1,
        ("a page of patient information", True): 1,
        ("a page without text", True): 1,
        ("wikitext that cannot be parsed", False): 1,
    }
    causes = rows[2]
    assert causes.source_id == f'{name} line 3 section 2 page="Spring itch" heading="Causes / In children"'
    assert causes.url == "https://www.wikidoc.org/index.php/Spring_itch"
    assert (causes.licence, causes.split) == ("CC BY-SA 3.0", "none")
    assert causes.attribution == 'WikiDoc contributors, "Spring itch", revision 77'
    assert {r.group for r in rows} == {"wikidoc:spring itch"}


def test_generated_saved_pages(write, tmp_path):
    write("pages/a/Spring itch.html", SAVED)
    write("pages/b.htm", SAVED.replace("Spring itch", "Talk:Spring itch"))
    write("pages/note.txt", "no page")
    [row], rejects = read(tmp_path, "pages")
    assert (row.instruction, row.output) == (
        "What are the causes of Spring itch?",
        f"{LONG} H2O.\n\n- Dust and wool",
    )
    assert row.source_id == 'a/Spring%20itch.html page section 1 page="Spring itch" heading="Causes"'
    assert row.attribution == 'WikiDoc contributors, "Spring itch", revision 99'
    assert [r.reason for r in rejects] == ["a list of links only", "a page outside the main namespace"]
    assert read(tmp_path, "pages/a/Spring itch.html")[0][0].output == row.output


@pytest.mark.parametrize(
    ("title", "headings", "asked"),
    [
        ("Gout", ["Causes"], "What are the causes of Gout?"),
        ("Gout", ["Causes of gout"], "What are the causes of Gout?"),
        ("Gout", ["Epidemiology & Demographics"], "How common is Gout, and whom does it affect?"),
        ("Gout", ["Diagnosis", "X-Ray"], "What does the X-ray show in Gout?"),
        ("Gout", ["Treatment", "Cold packs"], "How is Gout treated? (the part on Cold packs)"),
        ("Gout", ["Cold packs"], "What is known about Cold packs in the context of Gout?"),
        ("Gout", ["Gout in song"], "What is known about Gout in song?"),
        ("Gout", ["Who gets gout?"], "Who gets gout?"),
        ("Gout", ["Who gets it?"], "Who gets it? (about Gout)"),
        ("Gout", ["Overview"], "What is Gout?"),
        ("Gout", [], "What is Gout?"),
        ("Gout causes", ["Overview"], "What are the causes of Gout? Answer in short."),
        ("Gout", ["Causes", "A"], None),
        ("Gout", ["External links"], None),
        ("Gout", ["See also", "Causes"], None),
        ("Gout", ["x" * 200], None),
        ("Screening", ["Causes"], "What are the causes of Screening?"),
    ],
)
def test_questions_from_headings(title, headings, asked):
    assert make_question(title, headings) == asked


def test_titles_are_divided_into_article_and_chapter():
    assert split_title("Gout medical therapy") == ("Gout", "medical therapy")
    assert split_title("Gout natural history, complications and prognosis")[0] == "Gout"
    assert split_title("Gout") == ("Gout", "")


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("a [[b|c]] [[d]] [http://x e] http://y f", "a c d e f"),
        ("x thumb|right|200px|caption of a picture", "x"),
        ("[[File:a.jpg|thumb|[[b]] c]]d [[:Category:E|e]]", "d e"),
        ("a {{b|c=[[d]]}}e<ref>f</ref> <ref name=g />h", "a e h"),
        ("{|\n! a\n|-\n| b\n|}\nc", "c"),
        ("# a\n#* b\n; c\n: d", "- a\n- b\nc\nd"),
        ("P <2 and >3, 5'' end, CO<sub>2</sub>", "P <2 and >3, 5 end, CO2"),
        ("a <!-- b --> c <!-- d", "a c"),
        ("&alpha; &lt;b&gt; &#65;", "\u03b1 <b> A"),
        ("__NOTOC__a}} ]] b", "a b"),
    ],
)
def test_wikitext(wikitext, text):
    assert wiki_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "digits"),
    [
        ("150 x 10<sup>9</sup>5/L", "9|5"),
        ("1<b>2</b>", "1|2"),
        ("{{nowrap|5}}0", "5|0"),
        ("2{{convert|5|mg}}", "2|5"),
        ("5''10", "5|10"),
        ("5'''10'''", "5|10"),
        ("5<ref>a 7</ref>0", "5|0"),
        ("5<ref name=a />0", "5|0"),
        ("5<!-- a -->0", "5|0"),
        ("5<!-- a -->&#48;", "5|0"),
        ("5<!-- a -->''0''", "5|0"),
        ("5{{a}}0", "5|0"),
        ("5{{{a}}}0", "5|0"),
        ("5[[a|0]]", "5|0"),
        ("[[5]]0", "5|0"),
        ("[http://a 5]0", "5|0"),
        ("5[[File:a.jpg|7px]]0", "5|0"),
        ("5<nowiki/>0", "5|0"),
        ("5__NOTOC__0", "5|0"),
        ("5\r0", "5|0"),
        ("5&#1;0", "5|0"),
        ("5\ue0000", "5|0"),
        ("5\ufdd00", "5|0"),
        ("\u0665<b>\u0660</b>", "\u0665|\u0660"),
        ("a\u00b2<b>\u00b3</b>", "\u00b2|\u00b3"),
    ],
)
def test_markup_between_two_numbers_is_refused(wikitext, digits):
    with pytest.raises(JoinedDigits, match=f"^{JOINED}$") as raised:
        wiki_text(wikitext)
    assert raised.value.digits == digits


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("CO<sub>2</sub> 40, 1,''5'' and [[a|5]] mg", "CO2 40, 1,5 and 5 mg"),
        ("10<b>\u2079</b>/L", "10\u2079/L"),
        ("5<br>0", "5\n0"),
        ("5 {{a}} 0", "5 0"),
        ("5 <!-- a -->0", "5 0"),
        ("&#53;&#48;\u200b1", "50\u200b1"),
        ("a<ref>1<sup>2</sup></ref> {{b|c=1<sup>2</sup>}} [[File:c.jpg|1<sup>2</sup>]]", "a"),
        ("a\n| 10<sup>9</sup>\nb", "a\n\nb"),
        ("a\nthumb|10<sup>9</sup>\nb", "a\n\nb"),
        ("\ue000a\ufdd0", "a"),
    ],
)
def test_numbers_are_not_changed(wikitext, text):
    assert wiki_text(wikitext) == text


def test_only_the_section_with_joined_digits_is_rejected(write, tmp_path):
    count = "The count of platelets is 150 x 10<b>9</b>/L in nearly all of the healthy people."
    wikitext = f"{LONG}\n== Causes ==\n{count}\n== Symptoms ==\n{LONG}\n== Treatment ==\n10<b>9</b>"
    saved = f"<h1 id='firstHeading'>Gout</h1><h2>Causes</h2><p>{count}</p><h2>Symptoms</h2><p>{LONG}</p>"
    write("site.xml", export(page("Gout", wikitext), page("Pox", f"{LONG}\n== Type 1<b>2</b> ==\n{LONG}")))
    write("gout.html", saved)
    rows, rejects = read(tmp_path, "site.xml")
    assert [row.instruction for row in rows] == ["What is Gout?", "What are the symptoms of Gout?"]
    assert [(r.location, r.reason, r.by_rule, r.evidence) for r in rejects] == [
        ("line 3 section 1", JOINED, False, {"digits": "10|9"}),
        ("line 3 section 3", "answer too short", True, {}),
        ("line 10", JOINED, False, {"digits": "1|2"}),
    ]
    assert "150 x 10|9/L" in rejects[0].record["text"]
    [row], [_, reject] = read(tmp_path, "gout.html")
    assert row.instruction == "What are the symptoms of Gout?"
    assert (reject.location, reject.reason, reject.evidence) == ("page section 2", JOINED, {"digits": "10|9"})


def test_a_reference_between_digits_of_a_saved_page_is_refused(write, tmp_path):
    shown = SAVED.replace("H<sub>2</sub>O.", 'It is 5<sup class="reference">[7]</sup>0.')
    shown = shown.replace("<h2>Symptoms</h2>", f"<h2>2 Symptoms</h2><p>{LONG}</p>")
    write("gout.html", shown)
    [row], [reject] = read(tmp_path, "gout.html")
    assert row.instruction == "What is known about 2 Symptoms in the context of Spring itch?"
    assert (reject.reason, reject.evidence) == (JOINED, {"digits": "5|0"})
    assert f"{LONG} It is 5|0." in reject.record["text"]


MARKUP = (
    "<b>", "</b>", "<sup>", "</sup>", "<ref>a</ref>", "<ref name=a />", "<!-- a -->", "<br>", "<nowiki/>",
    "{{a}}", "{{{a}}}", "[[File:a.jpg]]", "[[a|", "]]", "[http://a ", "]", "''", "'''", "__NOTOC__", "\r", "\ue000",
    "\u200b", "&nbsp;", "&#1;", "\ufdd0", " ", "\n", "a", ".",
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.from_regex(r"\A\d{1,3}\Z"), st.lists(st.sampled_from(MARKUP), max_size=3)), max_size=8
    )
)
def test_numbers_are_kept_or_the_text_is_refused(parts):
    wikitext = "".join(number + "".join(between) for number, between in parts)
    try:
        text = wiki_text(wikitext)
    except ValueError:
        return
    assert set(re.findall(r"\d+", text)) <= set(re.findall(r"\d+", wikitext))


@pytest.mark.parametrize(
    "mark", ["[[", "{{a|", "<b>", "{|\n", "<ref>", "[http://a ", "{{{", "<!--", "'''", "=", "* ", "{{a}}"]
)
def test_many_unclosed_openings_are_read_or_refused_quickly(mark):
    try:
        assert isinstance(wiki_sections(mark * 20_000), list)
    except ValueError as error:
        assert str(error) == "wikitext that cannot be parsed"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", SITE[:-20], r"a.xml line \d+: not well-formed"),
        ("a.xml", "plain text", "a.xml line 1"),
        ("a.xml", "<mediawiki/>", "contains no page"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><mediawiki/>', "document type"),
        ("a.xml.bz2", bz2.compress(SITE.encode())[:-9], "a.xml.bz2: damaged or truncated"),
        ("a.xml.bz2", b"no bzip2", "a.xml.bz2: damaged or truncated"),
        ("a.xml.bz2", bz2.compress(b"<a>" + b" " * (80 << 20)), "unpacks to more than"),
    ],
)
def test_a_damaged_export_is_refused(write, tmp_path, name, content, message):
    write(name, content)
    with pytest.raises(UserError, match=message):
        read(tmp_path, name)


def test_a_directory_without_pages_is_refused(tmp_path):
    with pytest.raises(UserError, match="no saved page"):
        WikiDoc(path=".").files(tmp_path)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_raise_only_user_errors(tmp_path, damaged, data):
    site = export(page("Spring itch", ITCH)).encode()
    goods = {"a.xml": site, "a.xml.bz2": bz2.compress(site), "a.html": SAVED.encode()}
    name = data.draw(st.sampled_from(sorted(goods)))
    (tmp_path / name).write_bytes(data.draw(damaged(goods[name])))
    try:
        rows, rejects = read(tmp_path, name)
    except UserError:
        return
    assert all(r.output and r.instruction for r in rows)
    assert all(len(r.reason) < 80 for r in rejects)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("[]{}|<>='*#:; \nab/!-"), max_size=80))
def test_any_wikitext_is_read_or_refused(wikitext):
    try:
        sections = wiki_sections(wikitext)
    except ValueError:
        return
    assert all("[[" not in s.text and "{{" not in s.text for s in sections)


@pytest.mark.parametrize(
    "struck",
    [
        "<s>10</s>",
        "<del>10</del>",
        "<strike>'''10'''</strike>",
        "{{strike|10}}",
        '<span style="color:red; text-decoration:line-through">10</span>',
    ],
)
def test_struck_text_rejects_its_section_only(struck):
    text = f"== Dose ==\nGive {struck} 5 mg.\n== Route ==\nBy mouth.<s></s>\n"
    assert [(part.heading, part.is_struck) for part in wiki_sections(text)] == [
        ("", False),
        ("Dose", True),
        ("Route", False),
    ]
    with pytest.raises(ValueError, match="struck-through text"):
        wiki_text(f"Dose {struck}")


def test_struck_text_in_a_saved_page(tmp_path):
    page = "<html><body><h1 id='firstHeading'>Drug</h1><div id='mw-content-text'><h2>Dose</h2><p>Give {} 5 mg.</p>"
    for n, struck in enumerate(
        ("<s>10</s>", "<del>10</del>", "<b style='text-decoration:line-through'>10</b>")
    ):
        file = tmp_path / f"{n}.html"
        file.write_text(page.format(struck) + "<h2>Route</h2><p>By mouth.</p></div></body></html>")
        [read] = mediawiki.read_pages(file)
        assert [part.heading for part in read.sections() if part.is_struck] == ["Dose"]
