"""Rules for answers that answer nothing: what they match, and what similar good text they leave alone."""

import re

import pytest

from medalpaca_data.build import build
from medalpaca_data.core.row import Row
from medalpaca_data.recipe import Recipe
from medalpaca_data.sources import (
    MEDIQA,
    ChatDoctor,
    MedMCQA,
    MedQA,
    MedQuAD,
    StackExchange,
    WikiDocPatientInfo,
)
from medalpaca_data.sources.answer_rules import (
    Repair,
    find_lost_letters,
    find_removed_words,
    is_link_list,
    needs_picture,
    points_outside,
    split_leading_question,
)
from medalpaca_data.sources.base import Reject


@pytest.mark.parametrize(
    ("answer", "question", "rest"),
    [
        ("What causes Doe's itch? Pollen.", "What causes Doe's itch?", "Pollen."),
        ("What causes St. Doe's itch? Pollen.", "What causes St. Doe's itch?", "Pollen."),
        ("Is it inherited? No.", "Is it inherited? (about Doe's itch)", "No."),
        ("Is itch fatal? Is itch fatal? No.", "Is itch fatal?", "No."),
        ("Can I inherit Doe's itch? No.", "Can I inherit Doe's itch?", "No."),
        ("How is itch treated?", "How is itch treated?", ""),
        # Questions to the reader, and questions within the prose, stay.
        ("Have you ever felt dizzy? It may be vertigo.", "", "Have you ever felt dizzy? It may be vertigo."),
        ("Pollen. What else? Wool.", "", "Pollen. What else? Wool."),
        ("What helps is rest. Is it enough? Yes.", "", "What helps is rest. Is it enough? Yes."),
        ("Howling is a symptom.", "", "Howling is a symptom."),
    ],
)
def test_a_question_at_the_start_of_an_answer(answer, question, rest):
    assert split_leading_question(answer, "Doe's itch") == (question, rest)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("These resources address the management of itch:\n- Itch Society\n- Gene Review: Itch", True),
        ("More detailed information on itch is available at www.example.org/itch.", True),
        ("Itch Institute 1 Elm Street Bethesda, MD 20892-3500 301-555-0100 http://example.org", True),
        ("You can read about it at the following links. Wool: https://example.org/wool", True),
        (
            "These resources help the body:\n- Iron\n- Folate\nBoth are needed for cells to grow and divide.",
            False,
        ),
        (
            "Itch is treated with a cream twice a day for a week. More information is available at example.org.",
            False,
        ),
        ("No.", False),
    ],
)
def test_a_list_of_links(answer, found):
    assert is_link_list(answer) is found


PROSE = (
    "The dose of <a>aspirin</a> is low. It helps <em>some</em> adults (<a>a study</a>).",
    "Sleep improves <b>memory</b>, and <i>mood</i>. According to <a>the review</a>, eight hours suffice.",
    'Doctors call it "<i>vertigo</i>", which is common at night.',
)


@pytest.mark.parametrize("text", PROSE)
def test_words_that_a_crawler_removed_are_missed_wherever_they_stood(text):
    # The crawler kept the spaces around an element and put one in its place.
    elements = re.findall(r"<(\w+)>.*?</\1>", text)
    whole = re.sub(r"</?\w+>", "", text)
    assert not find_removed_words(whole)
    assert not find_removed_words(whole.replace(". ", ".  "))
    for n in range(len(elements)):
        parts = iter(range(len(elements)))
        crawled = re.sub(
            r"<(\w+)>(.*?)</\1>", lambda match, parts=parts, n=n: " " if next(parts) == n else match[2], text
        )
        assert find_removed_words(crawled) == "words", crawled


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Symptoms include: The doctor will ask about them.", "a list"),
        ("The tablets are as follows: Take them at night.", "a list"),
        ("Here is what the review concluded:", "a list"),
        ("It is safe. Sources:", ""),
        ("Symptoms include: fever, cough and pain.", ""),
        ("The answer is simple: No.", ""),
        ("We are a new couple.  What  should we eat?", ""),
    ],
)
def test_a_list_that_a_crawler_removed(text, found):
    assert find_removed_words(text) == found


WHOLE = (
    "The heart supplies blood through each artery.",
    "Hypertension raises mortality.",
    "Birth of a second child started an infertility work-up.",
    "Cortisol and other corticosteroids cause vertical striae.",
    "Which part of the aorta is supplied by vertebral vessels?",
    "A cohort study reports partial recovery.",
)
INTACT = (
    "The pH of plasma is low in sepsis, and PAS stain is positive.",
    "AOA and EHEA are abbreviations.",
    "Glucose is reabsorbed in the proximal tubule by SGLT2.",
    "Poly A tail, da Vinci, cu mm, ski boots and a foe.",
)


@pytest.mark.parametrize("text", WHOLE)
def test_lost_letters_are_found_by_the_words_that_need_them(text):
    assert find_lost_letters(text, "rt") == ""
    assert find_lost_letters(text.replace("rt", ""), "rt")


@pytest.mark.parametrize("text", INTACT)
def test_a_text_without_the_letters_has_not_lost_them(text):
    assert "rt" not in text.lower()
    assert find_lost_letters(text, "rt") == ""


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("A photograph of the rash is shown. Which drug helps?", True),
        ("Her ECG is shown below. What next?", True),
        ("Image A depicts two scatter plots. Which conclusion?", True),
        ("The findings are shown in the accompanying image. Why?", True),
        ("What is the name of the given instrument?", True),
        ("The following X-ray was obtained. Which diagnosis?", True),
        ("Laboratory results are shown below: Na+ 138 mEq/L. What next?", False),
        ("Which of the following X-ray findings suggests sarcoma?", False),
        ("On biopsy, a starry sky appearance was seen. Which virus?", False),
        ("The study has shown a benefit. What next?", False),
        ("No rash is seen. Which diagnosis?", False),
    ],
)
def test_a_question_about_a_picture(question, found):
    assert needs_picture(question) is found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("See your doctor if you have any of the symptoms listed above.", True),
        ("Patients with the above mentioned conditions are at risk.", True),
        ("Symptoms include:\nFever\nDrowsiness after the above symptoms", False),
        ("Blood pressure above 140 mm Hg is treated.", False),
        ("Call if you have any of the symptoms listed above. " + "Rest and drink enough water. " * 9, False),
    ],
)
def test_a_pointer_to_another_part_of_the_page(answer, found):
    assert points_outside(answer) is found


# In the readers ---------------------------------------------------------------------------------------------------

TAIL = (
    " The Human Phenotype Ontology (HPO) has collected information on how often a sign or symptom occurs. "
    "In these cases, the sign or symptom may be rare or common."
)


def table(cells: str) -> str:
    return (
        "The Human Phenotype Ontology provides the following list of signs and symptoms for Doe itch. If the "
        "information is available, the table below includes how often the symptom is seen in people with this "
        "condition. You can use the MedlinePlus Medical Dictionary to look up the definitions for these medical terms. "
        f"Signs and Symptoms Approximate number of patients (when available) {cells}{TAIL}"
    )


SIGNS, CARE = "What are the symptoms of Doe itch ?", "What are the treatments for Doe itch ?"
PAIRS = (
    ("symptoms", SIGNS, "What are the signs of Doe itch? " + table("Fever 90% 5-6 toes - Red, dry skin 2/3")),
    ("symptoms", SIGNS, table("Fever often Cough seldom")),
    ("treatment", CARE, "How might Doe itch be treated?"),
    ("treatment", CARE, "These resources address the management of Doe itch:\n     - Itch Society"),
    (
        "information",
        "What is (are) Doe itch ?",
        "Doe itch is an itch in 90 percent of cases.1 It is mild.[5258] (Watch the video to learn more. To enlarge it, "
        "press Escape (Esc).)",
    ),
    ("information", "What is (are) Doe itch ?", "The skin is the largest organ."),
    ("information", "What is (are) Doe itch ?", "Doe itch of children is rare."),
    ("considerations", "What to do for Doe itch ?", "     - Doe itch is rare.     - It ends."),
    ("considerations", "What to do for Doe itch ?", "Eating berries has no effect."),
    ("exams and tests", "How to diagnose Doe itch ?", "By its colour."),
)


def medquad(write, tmp_path, pairs=PAIRS, focus="Doe itch"):
    body = "".join(
        f'<QAPair pid="{n}"><Question qtype="{qtype}">{question}</Question><Answer>{answer}</Answer></QAPair>'
        for n, (qtype, question, answer) in enumerate(pairs, 1)
    )
    write(
        "d/1.xml",
        f'<Document id="1" source="GARD"><Focus>{focus}</Focus><QAPairs>{body}</QAPairs></Document>',
    )
    return list(MedQuAD(path="d").records(tmp_path))


def outcome(record):
    match record:
        case Row():
            return record.instruction, record.output
        case Repair():
            return record.kind
        case Reject():
            assert record.by_rule
            return record.reason
    raise AssertionError(record)


def test_the_pairs_of_a_document_are_repaired_or_excluded(write, tmp_path):
    heading = (
        "Signs and symptoms of Doe itch in the Human Phenotype Ontology, with the approximate share of patients where "
        "it is known:\n"
    )
    assert [outcome(record) for record in medquad(write, tmp_path)] == [
        "question moved out of the answer",
        "table of symptoms turned into a list",
        ("What are the signs of Doe itch?", heading + "- Fever: 90%\n- 5-6 toes\n- Red, dry skin: 2/3"),
        "an answer that points to a table that is not in the text",
        "an answer that is only a question",
        "an answer that is a list of links or addresses",
        "pointer to a video removed",
        "footnote marks removed",
        ("What is meant by Doe itch?", "Doe itch is an itch in 90 percent of cases. It is mild."),
        "a definition asked again, and the answer is about something else",
        ("What is meant by Doe itch?", "Doe itch of children is rare."),
        "template question replaced by that of the section",
        ("What are the key points about Doe itch?", "- Doe itch is rare.\n- It ends."),
        "template question replaced by that of the section",
        ("What is the role of eating, diet, and nutrition in Doe itch?", "Eating berries has no effect."),
        ("How is Doe itch diagnosed?", "By its colour."),
    ]


def test_the_ledger_counts_repairs_by_kind(write, tmp_path):
    medquad(write, tmp_path)
    recipe = Recipe.model_validate(
        {"name": "r", "sources": [{"kind": "medquad", "path": "d"}], "max_reject_share": 1}
    )
    [source] = build(recipe, tmp_path, tmp_path / "out").ledger["sources"]
    read = source["stages"][0]
    assert (read["read"], read["kept"], read["rejected"]) == (10, 6, 4)
    assert read["changed"] == {
        "footnote marks removed": 1,
        "pointer to a video removed": 1,
        "question moved out of the answer": 1,
        "table of symptoms turned into a list": 1,
        "template question replaced by that of the section": 2,
    }


@pytest.mark.parametrize(
    ("focus", "result"),
    [
        ("Parasites - Scabies", ["title replaced by its topic", ("What is meant by Scabies?", "Mites.")]),
        (
            "What I need to know about Gas",
            ["title replaced by its topic", ("What is meant by Gas?", "Mites.")],
        ),
        ("Your Guide to Itch", ["a question made from the title of a brochure"]),
        ("Glutaric acidemia type I", [("What is meant by Glutaric acidemia type I?", "Mites.")]),
    ],
)
def test_titles_are_no_topics(write, tmp_path, focus, result):
    pairs = [("information", f"What is (are) {focus} ?", "Mites.")]
    assert [outcome(record) for record in medquad(write, tmp_path, pairs, focus)] == result


def test_the_credit_of_a_summary_goes(write, tmp_path):
    answer = "Summary : Itch ends. Avoid   - Wool   - Pollen NIH: National Institute of Itch"
    records = medquad(write, tmp_path, [("information", "Do you have information about Doe itch", answer)])
    assert [outcome(record) for record in records] == [
        "label or credit of a summary removed",
        ("What should I know about Doe itch?", "Itch ends. Avoid\n- Wool\n- Pollen"),
    ]


EMPTY, RESIDUE = "an answer that is only a video or a link", "residue of wiki markup removed"
CAUSE = "What causes itch?"
VIDEO = "{{#ev:youtube|p47QFhkKKfI}}"


@pytest.mark.parametrize(
    ("question", "answer", "result"),
    [
        ("What are the risks?", "None.", ["a question that does not name its subject"]),
        (CAUSE, VIDEO, [EMPTY]),
        ("Where to find care for itch?", "Directions to Hospitals Treating Itch", [EMPTY]),
        (CAUSE, f"Wool.\n{VIDEO}", [RESIDUE, (CAUSE, "Wool.")]),
        (CAUSE, "A form of Rash (patient information)|rash.", [RESIDUE, (CAUSE, "A form of rash.")]),
        (
            CAUSE,
            "Wool, if you have the above symptoms.",
            ["an answer that points to another part of its page"],
        ),
        (CAUSE, "Wool (p<0.05) and {pollen}.", [(CAUSE, "Wool (p<0.05) and {pollen}.")]),
    ],
)
def test_published_rows_of_wikidoc(write, tmp_path, question, answer, result):
    write("rows.json", [{"instruction": "Answer", "input": question, "output": answer}])
    assert [outcome(record) for record in WikiDocPatientInfo(path="rows.json").records(tmp_path)] == result


def test_exam_questions_without_their_letters_or_picture(write, tmp_path):
    options = {"opa": "one", "opb": "two", "opc": "three", "opd": "four", "cop": 4, "choice_type": "single"}
    questions = (
        "Rate of the hea in shock?",
        "Her ECG is shown below. What next?",
        "Rate of the heart in shock?",
    )
    write("train.json", [{"question": question, **options} for question in questions])
    records = list(MedMCQA(path="train.json", split="train").records(tmp_path))
    assert [outcome(record) for record in records[:2]] == [
        "the letters 'rt' are missing, as in 'hea' for 'heart'",
        "a question about a picture",
    ]
    assert records[2].input.startswith("Rate of the heart")
    write("train.jsonl", [{"question": questions[1], "options": {"A": "a", "B": "b"}, "answer_idx": "A"}])
    [record] = MedQA(path="train.jsonl", split="train").records(tmp_path)
    assert outcome(record) == "a question about a picture"


@pytest.mark.parametrize("layout", ["original", "instances"])
def test_a_stray_quotation_mark_of_medqa_goes(write, tmp_path, layout):
    question, options = 'He says "ouch". What next?"', {"A": "Rest", "B": 'A "cold" pack', "C": 'Sleep\n"'}
    record = {"question": question, "options": options, "answer_idx": "C"}
    if layout == "instances":
        listed = "".join(f"\nOption {letter}: {text}" for letter, text in options.items())
        record = {"instances": {"input": f"Question: {question}{listed}", "output": "C"}}
    write("train.json", [record])
    repair, row = MedQA(path="train.json", split="train").records(tmp_path)
    assert outcome(repair) == "stray quotation mark removed"
    assert row.input == 'He says "ouch". What next?\nA: Rest\nB: A "cold" pack\nC: Sleep'
    assert row.output == "C: Sleep"


def test_a_remark_on_the_dialogue_and_a_credit(write, tmp_path):
    answers = (
        "Rest.",
        "Rest. (Note: Due to the limitation of one back and forth, the doctor is unable to say more.)",
    )
    write("chat.json", [{"instruction": "x", "input": "I itch.", "output": answer} for answer in answers])
    records = [outcome(record) for record in ChatDoctor(path="chat.json").records(tmp_path)]
    assert records[1] == "an answer about the dialogue, not to the patient"
    credit = "Updated by: Jo Doe, MD. Also reviewed by Al Roe, and the A.D.A.M. Editorial team."
    write(
        "train.xml",
        "<QA><Question><QuestionText>Does it itch?</QuestionText><AnswerList>"
        f'<Answer ReferenceScore="4" ReferenceRank="1"><AnswerText>Yes. {credit}</AnswerText></Answer>'
        "</AnswerList></Question></QA>",
    )
    _, repair, row = MEDIQA(path="train.xml").records(tmp_path)
    assert (outcome(repair), row.output) == ("credit of the reviewers removed", "Yes.")


HEADINGS = (
    "question_id\tquestion_url\tquestion_title\tquestion_body\ttime_stamp\tusername\tvotes\tfavorites\ttags\n",
    "question_id\tanswer_id\tanswer_url\tanswer\ttime_stamp\tusername\tvotes\n",
)


@pytest.mark.parametrize(
    ("title", "body", "answer", "result"),
    [
        (
            "Itch? [closed]",
            "It itches.",
            "Rest.",
            ["closing mark removed from the title", ("Itch?", "Rest.")],
        ),
        ("Itch [in spring]", "It itches.", "Rest.", [("Itch [in spring]", "Rest.")]),
        (
            "Itch?",
            "It itches.",
            "Rest helps. Sources:",
            ["label of lost references removed", ("Itch?", "Rest helps.")],
        ),
        (
            "Itch?",
            "It itches.",
            "Use   cream.  It is  , as said, mild.",
            ["words missing, removed by the crawler"],
        ),
        ("Itch?", "It itches.", "Rest.   is best.", ["words missing, removed by the crawler"]),
        ("Itch?", "I use   at night.", "Rest.", ["words missing, removed by the crawler"]),
    ],
)
def test_posts_of_a_crawl(tmp_path, title, body, answer, result):
    (tmp_path / "questions.tsv").write_text(
        HEADINGS[0] + f"1\thttps://x.org/1\t{title}\t{body}-\t2017-01-01\tJo\t1\t0\titch\n"
    )
    (tmp_path / "answers.tsv").write_text(
        HEADINGS[1] + f"1\t2\thttps://x.org/2\t{answer}\t2017-01-01\tAl\t7\n"
    )
    _, *records = StackExchange(path=".").records(tmp_path)
    assert [outcome(record) for record in records] == result
