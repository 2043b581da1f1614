"""The profile `recall`: forms of every class, words that stay, default for patient text, properties of the spans."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.config import load_config
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import read_split
from medalpaca_data.deid.find import find_identifiers
from medalpaca_data.deid.replace import replace_identifiers
from medalpaca_data.deid.settings import Deidentification
from medalpaca_data.stages.deidentify import Deidentify

NAMES = Path(__file__).parent / "test_deid_origins.yaml"
# Identifiers in [[ ]]: each must be covered to its last letter and digit, and no other word.
FORMS = {
    "date": [
        "Seen on [[3/14]] for wound check.",
        "LMP [[6/2]]. EDC [[3/9/25]].",
        "Chemo C1D1 [[03-Apr-2021]] and [[03APR2021]].",
        "Collected [[20190405]] and [[2019-04-05T08:30:00Z]], [[2019/04/05]], [[04.05.2019]].",
        "[[Nov-22-2013]] and [[2013 Nov 22]] and [[Nov.22,2013]] and [[22 11 2013]] and [[22. Nov. 2013]]",
        "stay [[11/22/13]]-[[11/24/13]], then [[11/22]]-[[11/24]], [[22-24 Nov]], [[22nd-24th November]]",
        "Admitted [[New Year's Eve]], fell [[last Tues]], seen [[Sunday night]], again [[on the 5th]].",
        "Dx [[9/2014]], relapse in the [[summer of 2018]], worse since [[early September]].",
        "i saw her [[last tues]] and [[march 5th]] and in [[may]] and since [[feb]]",
        "DOB [[1936]], b. [[1931]]",
        "Aufnahme am [[3. Mai 2019]], Kontrolle vom [[3.]] bis [[5.2.]] und am [[Mo.]] in der [[KW 14]], nicht der",
        "Das Kind wurde [[Heiligabend]] geboren und ist mit der Mutter nach Hause gegangen.",
    ],
    "age": [
        "She turned [[95]] on [[Friday]]. He is [[97]] and lives alone.",
        "A [[92]] yo man, [[91F]], [[94Y]], M/[[94]], age: [[94]], ([[94]]) fell.",
        "His [[95th]] birthday. Father d. [[93]], MI. Alive at [[98]].",
        "Die [[93]]-jährige Patientin wurde von uns mit der Diagnose entlassen.",
    ],
    "number": [
        "MRN: [[12-34-56]], MR# [[0012345]], Hosp. no: [[K44821]], Unit no. [[55 12 09]]",
        "NHS number: [[485 777 3456]], CHI [[0204311234]], H&C No [[320 000 0017]]",
        "Fall-Nr.: [[4711023]], KVNR [[T123456789]], wurde nicht von der Klinik und der Praxis",
        "Medicare [[1EG4-TE5-MK73]], Policy #[[7788-12]], Member ID: [[W221344510]]",
        "SSN [[123-45-6789]], SS# [[123 45 6789]], last four of social [[6789]], NI no [[QQ 12 34 56 C]]",
        "GUAR SSN....: [[195267577]]",
        "Acct # [[0099-4432]], IBAN [[DE89 3704 0044 0532 0130 00]], Visa ending in [[4432]]",
        "DL # [[S123-4567-8901]], GMC [[7123456]], NPI [[1234567893]], DEA # [[BS1234563]]",
        "plate [[ABC 1234]], VIN [[1HGCM82633A004352]], Kennzeichen: [[M-AB 1234]]",
        "S/N [[RNB123456S]], Lot [[AB1234]], pump serial [[443211]], REF 42-5006-068-01",
        "Iris scan id [[IR7267024]], photo [[okafor_wound.jpeg]]",
        "Accession: [[NP19-00213]], Case [[S17-12345]], Document [[443211]], Room [[412]], Rx# [[7712345]]",
        "UID [[1.2.840.113619.2.55.3]], CSN [[100443211]], Docket [[CR-19-4432]]",
    ],
    "contact": [
        "Tel [[(617) 555-0134]], cell [[617.555.0134]], [[904-9124]], pager [[32145]], [[x44321]] is it",
        "mob [[07700 900123]], [[+44 7700 900123]], [[01274 555 012]], [[+353 87 123 4567]], [[087-1234567]]",
        "[[+91 98765 43210]], [[98765-43210]], [[0412 345 678]], [[(02) 9876 5432]], [[1800 555 019]]",
        "Tel. [[089/123456]], Tel.: [[0231/509302-48]], Fax: [[0626/394859-88]]",
        "[[john.smith@nhs.net]], [[https://example-health.com/pt/4432]], [[192.168.4.22]], [[@okafor_j]]",
    ],
    "place": [
        "He lives at [[44 Quarry Street]], [[Ames]], IA [[50010]].",
        "[[14 Dumbarton Rd]], [[Glasgow]] [[G11 6NU]], [[Flat 2/1]], [[PO Box 44]]",
        "[[Hauptstraße 12]], [[35037 Marburg]], wohnhaft der die und nicht",
        "Transferred from [[St. Luke's Hospital]] to [[Harlow General]], [[Ward 4B]].",
        "[[HARLOW REGIONAL MEDICAL CENTER]]",
        "She works at [[Harlow Tool Company]]. He works for [[Tesco]].",
        "grew up in [[Bath]], moved to [[San Jose]], visiting from [[Chennai]]",
        "[[Klinikum Kassel]] und die Klinik der Stadt wurde nicht von",
    ],
    "name": [
        "[[Okonkwo]] called. d/w [[Young]]. Per [[Love]], pt refused.",
        "dr [[patel]] saw her, mrs [[jones]] rang",
        "Pt. [[Marquez]] seen by PCP [[Sharp]].",
        "his wife [[CHAMINDA]] and daughter [[siobhan]] visited",
        "[[BOSE^KIRAN^P]] and NAME: [[BOSE, KIRAN]]",
        "[[K. Bose]], RN; [[W. Eastman]] to consent; Attending: [[Ngozi H Okafor]], M.D.",
        "[[Maria de la Cruz]] reports pain. Mr [[O'Shea]] attended. [[Abdul-Rahman al-Sayed]] too.",
        "Yours sincerely,\n[[D B Hunger]] MRCP",
        "| Name | DOB | MRN |\n|---|---|---|\n| [[Jones, Tammy]] | [[01/02/1993]] | [[8049499]] |",
        "name,dob,mrn\n[[Okafor]],[[1/2/34]],[[123456]]\n[[Li]],[[3/4/55]],[[654321]]",
        "i am [[adaeze]] from [[ibadan]]",
        "OA Dr. [[Schneider]] hat die Patientin mit der Tochter gesehen und ist informiert.",
        "THE PATIENT, MR [[OKONKWO]], WAS BROUGHT IN BY HIS SON [[EMEKA]] FROM HOME.",
        "Mr [[Parkinson]] has Parkinson disease.",
    ],
    "kept": [
        "BP 120/80, HR 72, RR 16, T 98.6, SpO2 97% on 2 L. Pain 3/10. GCS 15. Strength 4/5. T12/L1. 2/6 SEM.",
        "Na 138 K 4.1 BUN 14 Cr 0.9. WBC 12.4 Hgb 9.8 Plt 250. INR 2.3. EF 55-60%. pH 7.32/45/88.",
        "Heparin 5000 units SC TID. Vanc 1 g q12h. Leukocyte count 12,500/mm3. Review 6/52. CD4 280/mm3.",
        "Gleason 3+4=7, pT2cN0M0. 38+2 weeks, G2P1, Apgars 8/9, BW 3250 g. Vision 20/40. Cervix 4/80/-2.",
        "Review of Systems: Negative. Social History: Lives alone. Physical Therapy and Case Management aware.",
        "A Foley was placed. Swan-Ganz removed. History of Crohn's, Hashimoto's, Graves disease. Negative Kernig.",
        "Cultures grew Klebsiella and MRSA. E. coli UTI. Prescribed Augmentin and Xarelto.",
        "Im Röntgen-Thorax kein Anhalt für Infiltrate. Morbus Crohn bekannt, Z.n. Billroth II. Blutdruck 130/80 mmHg.",
        "Mit freundlichen kollegialen Grüßen. Operationsbericht: Hautschnitt, Präparation der Faszie, Hautnaht.",
    ],
}  # fmt: skip


def marked(form):
    """Return the text of a form and the spans in it."""
    spans, text, at = [], "", 0
    for match in re.finditer(r"\[\[(.*?)\]\]", form):
        text += form[at : match.start()]
        spans.append((len(text), len(text) + len(match[1])))
        text += match[1]
        at = match.end()
    return text + form[at:], spans


def covered(text, found):
    """Return the letters and digits of the text that a span covers, by place."""
    return {n for span in found for n in range(span.start, span.end) if text[n].isalnum()}


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind, forms in FORMS.items() for form in forms])
def test_a_form_is_found_to_its_last_letter_and_nothing_else(kind, form):
    text, spans = marked(form)
    expected = {n for start, end in spans for n in range(start, end) if text[n].isalnum()}
    found = covered(text, find_identifiers([text], profile="recall")[0])
    assert {text[n] for n in expected - found} == set()
    extra = [word[0] for word in re.finditer(r"\w+", text) if set(range(*word.span())) & (found - expected)]
    assert extra == []


def test_what_was_found_once_is_found_everywhere_in_any_case():
    texts = [
        "Patient: Frank Love, MRN 4471902.",
        "LOVE was seen. Love agreed; his love of tea.",
    ]
    second = find_identifiers(texts, profile="recall")[1]
    assert [texts[1][span.start : span.end] for span in second] == ["LOVE", "Love"]


def test_the_default_is_recall_for_patient_text_and_precise_otherwise():
    plain = Deidentification(limit=1)
    assert plain.profile is None
    assert (plain.profile_of(patient_text=True), plain.profile_of(patient_text=False)) == (
        "recall",
        "precise",
    )
    assert Deidentification(limit=1, profile="precise").profile_of(patient_text=True) == "precise"
    assert Deidentify(plain, only={"letters"})._profile == "recall"
    assert Deidentify(plain)._profile == "precise"


def test_precise_does_not_change():
    text = "Okonkwo called. Dr. Nwosu saw Adaeze Nwosu. Call 617-867-5309."
    kinds = [(span.kind, text[span.start : span.end]) for span in find_identifiers([text])[0]]
    assert kinds == [("name", "Nwosu"), ("name", "Adaeze Nwosu"), ("phone", "617-867-5309")]


def test_replacement_finds_its_own_surrogates_by_place_and_ends():
    text = "Dr. Okafor saw Tammy Jones, MRN 8049499, on 3/14. d/w Jones. Lives at 44 Quarry Street, Ames."
    done = replace_identifiers([text], "row", bytes(32), profile="recall")
    assert done.remaining == ((),)
    assert not [
        word
        for word in ("Okafor", "Tammy", "Jones", "8049499", "3/14", "Quarry", "Ames")
        if word in done.texts[0]
    ]
    first, second = (
        done.texts[0].split("saw ")[1].split(",")[0].split()[1],
        done.texts[0].split("d/w ")[1].split(".")[0],
    )
    assert first == second


CHUNKS = st.sampled_from(
    [
        "Dr. Okafor",
        "3/14",
        "MRN 12345",
        "\n",
        " ",
        "| Name | DOB |",
        "SMITH^JOHN",
        "617-555-0134",
        "Graves",
        "disease",
        "é",
        "Şule",
        "İ",
        "d/w ",
        "x",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(CHUNKS, st.text(max_size=12)), max_size=12).map("".join))
def test_spans_are_inside_the_text_ordered_and_without_overlap(text):
    last = 0
    for span in find_identifiers([text], profile="recall")[0]:
        assert last <= span.start < span.end <= len(text)
        last = span.end


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(CHUNKS, st.text(max_size=8)), max_size=10).map(" ".join))
def test_the_text_outside_the_spans_never_changes(text):
    done = replace_identifiers([text], "row", bytes(32), profile="recall")
    old, new = done.identifiers[0], done.surrogates[0]

    def outside(whole, spans):
        parts, at = [], 0
        for span in spans:
            parts.append(whole[at : span.start])
            at = span.end
        return [*parts, whole[at:]]

    assert outside(text, old) == outside(done.texts[0], new)


SITE = {
    "patterns": [{"name": "lab number", "regex": r"\bL(?P<x>\d{2}-[A-Z]{2})\b", "class": "other"}],
    "keep": ["Nwosu"],
    "always": ["project falcon"],
}


def test_patterns_and_words_of_the_site():
    rules = load_config(Deidentification, {**SITE, "limit": 1}).site_rules()
    text = "Dr. Nwosu sent L12-AB to Project Falcon. Falcon is a bird."
    found = find_identifiers([text], site=rules)[0]
    assert [(text[span.start : span.end], span.kind, span.rule) for span in found] == [
        ("12-AB", "other", "site: lab number"),
        ("Project Falcon", "other", "site: always"),
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ({"name": "a", "regex": "(", "class": "mrn"}, "not a regular expression"),
        ({"name": "a", "regex": "x*", "class": "mrn"}, "matches the empty text"),
        ({"name": "a", "regex": "x", "class": "number"}, "the classes are name, place"),
    ],
)
def test_a_bad_pattern_is_refused(pattern, message):
    with pytest.raises(UserError, match=message):
        load_config(Deidentification, {"limit": 1, "patterns": [pattern]})


def test_the_ledger_counts_patterns_and_words_of_the_site(build_letters):
    rows = [{"instruction": "Dr. Nwosu asks.", "input": "Sample L12-AB.", "output": "Project Falcon."}]
    [record] = build_letters(rows, deidentify={**SITE, "limit": 10_000}).ledger["deidentification"]
    assert record["profile"] == "recall"
    assert record["site"] == {"patterns": {"lab number": 1}, "always": 1, "keep": 1}


DIRECT = {"name", "bare", "date", "phone", "fax", "ssn", "mrn", "plan", "email", "account"}


def test_floors_on_annotated_notes(real):
    file = real.parent / "cases" / "deid" / "notes.jsonl"
    if not file.exists():
        pytest.skip("no annotated notes in MEDALPACA_SHARED")
    notes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    hits, total, leaks, wrong, words = Counter(), Counter(), 0, 0, 0
    for note in notes:
        text, spans = note["text"], note["spans"]
        found = covered(text, find_identifiers([text], profile="recall")[0])
        missed = set()
        for start, end, kind in spans:
            total[kind] += 1
            if {n for n in range(start, end) if text[n].isalnum()} <= found:
                hits[kind] += 1
            else:
                missed.add(kind)
        leaks += bool(missed & DIRECT)
        annotated = {n for start, end, _ in spans for n in range(start, end)}
        for word in re.finditer(r"\w+", text):
            place = set(range(*word.span()))
            words += 1
            wrong += bool(place & found) and not place & annotated
    assert sum(hits.values()) / sum(total.values()) >= 0.92
    assert sum(hits[kind] for kind in DIRECT) / sum(total[kind] for kind in DIRECT) >= 0.96
    assert hits["bare"] / total["bare"] >= 0.93
    assert leaks / len(notes) <= 0.2
    assert wrong / words <= 0.02


TEMPLATES = [
    "Dr. {s} saw {g} {s} today. d/w {s}.",
    "{s} called. {g} ({s}) is the daughter.",
    "NAME: {S}, {G}   MRN 4471902",
    "Pt {s} fell; his wife {g} found him.",
    "Seen with {g} and discussed with {s} at length.",
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # A patient is a person, although the name is an eponym.
        ("Patient Smith was admitted with chest pain.", ["Smith"]),
        ("Pt Miller stable.", ["Miller"]),
        ("He has a Smith fracture and Parkinson disease.", []),
        ("Glasgow 3/15 on admission.", []),
        ("PHQ-9 12/27, Tinetti 12/28", []),
    ],
)
def test_patients_with_names_of_eponyms_and_scores(text, found):
    spans = find_identifiers([text], profile="recall")[0]
    assert [text[span.start : span.end] for span in spans] == found


def test_a_case_number_is_replaced_in_the_text(build_letters, tmp_path):
    """The row has a keyed hash of it; in the text, it would stand in clear beside the hash."""
    rows = [{"instruction": "Summarise.", "input": "Case 4711. Take 7 mg.", "output": "Case 4711."}]
    build_letters(rows, source={"group": r"[Cc]ase (\d+)"}, deidentify={"limit": 10_000})
    [row] = read_split(tmp_path / "out", "train")
    assert "4711" not in row.text() and "Take 7 mg." in row.input
    assert row.input.startswith("Case ") and row.group.startswith("h:")


def name_recall(pairs):
    """Return the recall of names in the notes of `TEMPLATES`, for pairs of a given name and a surname."""
    hits = total = 0
    for n, (given_name, surname) in enumerate(pairs):
        form = TEMPLATES[n % len(TEMPLATES)]
        fields = {"g": given_name, "s": surname, "G": given_name.upper(), "S": surname.upper()}
        text = form.format(**fields)
        found = covered(text, find_identifiers([text], profile="recall")[0])
        for name in {value for key, value in fields.items() if "{" + key + "}" in form}:
            for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text):
                total += 1
                hits += set(range(*match.span())) <= found
    return hits / total


@pytest.mark.slow
def test_names_of_six_origins_are_found_alike():
    recall = {}
    for origin, lists in yaml.safe_load(NAMES.read_text(encoding="utf-8")).items():
        pairs = [
            (given, surname) for given in lists["given"].split() for surname in lists["surnames"].split()
        ]
        pairs = pairs[:: max(1, len(pairs) // 2000)][:2000]
        assert len(pairs) == 2000
        recall[origin] = name_recall(pairs)
    assert max(recall.values()) - min(recall.values()) <= 0.03, recall


@pytest.mark.slow
def test_full_names_of_six_other_origins_are_found_alike():
    """About half of the surnames were held out of the lists from which the detector's lists were merged."""
    recall = {}
    for file in sorted(NAMES.with_name("deid_names").glob("*.txt")):
        lines = file.read_text(encoding="utf-8").splitlines()
        pairs = [line.split(" ", 1) for line in lines if not line.startswith("#")]
        assert len(pairs) == 2500
        recall[file.stem] = name_recall(pairs[:2400])
    assert len(recall) == 6
    assert max(recall.values()) - min(recall.values()) <= 0.03, recall
