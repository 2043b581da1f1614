"""The letter in a generated text: what readers take for an answer, other scorers' bugs, and that prose is no letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_evalharness.answer_extraction import (
    OUTCOMES,
    classify_no_answer,
    flexible_filter,
    strict_filter,
)
from medalpaca_evalharness.answer_rules import NO_ANSWER, TWO_ANSWERS, extract_flexible, extract_strict
from medalpaca_evalharness.samples import is_answer_reproduced
from medalpaca_evalharness.scoring import process_generated

LETTERS = "ABCDE"
OPTIONS = (
    "Measles",
    "Hepatitis",
    "Mumps and measles",
    "Clostridioides difficile colitis",
    "Escherichia coli sepsis",
)

# Raw answers to the 2023 rule, with what a reader takes each for. The 2023 verdicts are in test_protocol_2023.py.
OF_THE_GATE = {
    "B": "B",
    "B.": "B",
    "(B) Hepatitis": "B",
    "B) Hep": "B",
    "B: Hepatitis": "B",
    "B. Hepatitis": "B",
    "B Hepatitis": "B",
    "**B**: Hep": "B",
    "B, Hepatitis": "B",
    "b: Hepatitis": "B",
    "B - Hep": "B",
    "The answer is B: Hepatitis": "B",
    "B: Hepatitis</s>": "B",
    "A 53-year-old man has hepatitis": None,
    "I am not sure": None,
}
# What models write that were asked to think first.
STATED = {
    "Answer: (B)": "B",
    "**B**": "B",
    "B\n": "B",
    "Hepatitis": "B",
    "hepatitis.": "B",
    "A and C": None,
    "I cannot give medical advice.": None,
    "**Answer:** B": "B",
    "Answer:\n\nB": "B",
    "Answer: B. Hepatitis": "B",
    "The correct answer is (B).": "B",
    "The answer is B (Hepatitis).": "B",
    "So the answer is option B.": "B",
    "I would choose B.": "B",
    "Option B is correct.": "B",
    "B is the most likely diagnosis.": "B",
    "The correct answer is hepatitis.": "B",
    "<answer>B</answer>": "B",
    "It cannot be A.\n\nB": "B",
    "The answer is A. No, wait: the answer is C.": "C",
    "The wrong answer is A. The correct answer is B.": "B",
    "The correct answer is B. The wrong answer is A.": "B",
    r"The final answer is $\boxed{\text{B}}$.": "B",
    "The answer is A, not B.": "A",
    "Answer: F": None,
    "The answer is A or C": None,
    "Answer: B, C": None,
    r"\boxed{A and C}": None,
    "The answer is not C": None,
    "Option A is not correct": None,
    "The incorrect answer is A.": None,
    "A: Measles\nB: Hepatitis\nC: Mumps and measles": None,
    "A) Measles B) Hepatitis": None,
    "A) is incorrect. B) is incorrect.": None,
    "E. coli is the most likely pathogen.": None,
    "Answer: C. difficile": None,
    "The answer is vitamin D": None,
    "Group A streptococcus": None,
    "The answer is a": None,
    "": None,
}


@pytest.mark.parametrize(("text", "letter"), [*OF_THE_GATE.items(), *STATED.items()])
def test_known_answers(text, letter):
    assert extract_flexible(text, LETTERS, OPTIONS).letter == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # A list of the options without a conclusion, and with one.
        ("Options:\nA. Measles - no.\nB. Hepatitis - fits.", None),
        ("Options:\nA. Measles - no.\nB. Hepatitis - fits.\n\nThe answer is B.", "B"),
        ("A is correct, B is correct.", None),
        ("Both A and B are correct.", None),
        ("Answer: A; C", None),
        # A denial, a doubt, a retraction, a condition.
        ("I don't think it is B.", None),
        ("I doubt that the answer is B.", None),
        ("Wrong answer\n\nA", None),
        ("Least likely: A", None),
        ("A resposta não é C", None),
        ("The answer is A... no, C.", None),
        ("One might think that the answer is A, but the answer is B.", "B"),
        ("Answer: B\n\nExplanation: Option A is the correct answer for infants.", "B"),
        ("If I had to choose, the answer would be B.", "B"),
        # Words that look like letters.
        ("A correct diagnosis requires tests.", None),
        ("Answer: c. difficile", None),
        ("The cause is group A streptococcus.", None),
        ("The most likely cause is hepatitis B.", None),
        ("A child with bowed legs (A) and pain (B).", None),
        ("Ответ: \u0421", "C"),
        ("Ответ: \u0412", None),
        # JSON without one letter.
        ('{"answer": null}', None),
        ('{"answer": ["A", "C"]}', None),
        ('{"answer": ["C"]}', "C"),
        ('{"answer": "c"', "C"),
        ('{"A": "no", "B": "yes"}', None),
    ],
)
def test_statements_that_do_not_name_one_letter_clearly(text, letter):
    assert extract_flexible(text, LETTERS, OPTIONS).letter == letter


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("A? The answer is A.<unused95>B", ["B", "whole text"]),
        ("Answer: B<unused106>", ["B", "stated"]),
        ("<start_of_turn>model\nthought\nThe answer is A.", ["", "truncated"]),
        ("<|startofthought|>The answer is A.<|endofthought|>B", ["B", "whole text"]),
        ("[Reasoning] The answer is A.\n[Answer] B", ["B", "answer tag"]),
        ("<think>p [Note] <b> The answer is A.</think>B", ["B", "whole text"]),
        ("# Thinking\n\n## Step\nThe answer is A.\n\n# Answer\nB", ["B", "stated"]),
        ("**Thinking**\n\nThe answer is A.", ["", "truncated"]),
        ("**Reasoning:**\nHm.\n\n**Answer:** B", ["B", "stated"]),
        ("B\n\n### Reasoning\nThe rash.", ["B", "whole text"]),
        ("### The most reasonable choice\nB", ["B", "last line"]),
        (
            "B<|im_end|>\n<|im_start|>user\nNext?<|im_start|>assistant\n<think>no</think>A",
            ["B", "whole text"],
        ),
    ],
)
def test_thinking_by_rule(text, answer):
    assert flexible_filter([[text]], [doc()]) == [answer]


def test_nine_options_distinguish_the_letter_i_from_the_pronoun():
    nine = "ABCDEFGHI"
    assert extract_flexible("Answer: I", nine).letter == "I"
    assert extract_flexible("I: Sarcoidosis", nine).letter == "I"
    for text in ("I am not sure", "The answer is I think B", "I think so.", "H. pylori", "I, too, think so"):
        assert extract_flexible(text, nine).letter is None


def test_a_text_of_two_options_matches_neither():
    assert extract_flexible("The answer is measles", "ABC", ("Measles", "Mumps", "measles")) == (
        None,
        NO_ANSWER,
    )
    assert extract_flexible("The answer is mumps", "ABC", ("Measles", "Mumps", "measles")).letter == "B"
    assert extract_flexible("measles", "ABC", ("Measles", "Mumps", "measles")).letter is None


def test_the_matching_rule_is_returned():
    rules = {
        "Answer: B": "stated",
        r"\boxed{B}": "boxed",
        "<answer>B</answer>": "answer tag",
        "I pick B": "stated",
        "(B)": "whole text",
        "B: of course": "first line",
        "Hmm.\nB": "last line",
        "The answer is hepatitis": "option's text stated",
    }
    assert {text: extract_flexible(text, LETTERS, OPTIONS).rule for text in rules} == rules
    assert extract_flexible("The answer is A or C", LETTERS, OPTIONS) == (None, TWO_ANSWERS)
    assert extract_flexible("No idea", LETTERS, OPTIONS) == (None, NO_ANSWER)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Thus it fits.\nAnswer: B", "B"),
        ("Answer: (B).", "B"),
        ("Answer: A\nAnswer: B", "B"),
        ("Answer: B because", None),
        ("The answer is B", None),
        ("B", None),
        ("**Answer: B**", None),
        ("Answer: b", None),
        ("Answer: F", None),
        ("Answer: A and B", None),
        ("Answer: A\n\nWait, let me reconsider. Answer: C", None),
        ("Answer: A\n\nQuestion: Which next?\nAnswer: B", "A"),
    ],
)
def test_strict_accepts_only_the_requested_line(text, letter):
    assert extract_strict(text, LETTERS, OPTIONS).letter == letter


SHORT = "The patient has had fever for six days, which together with the rash, the red eyes,"  # just short of long


def doc(key: int = 1) -> dict:
    return {"letters": list(LETTERS), "options": list(OPTIONS), "gold": key}


def outcome(text: str, key: int = 1, find=flexible_filter) -> str:
    metrics = process_generated(doc(key), find([[text]], [doc(key)]))
    assert metrics["acc"] == metrics["correct"]
    return next(name for name in OUTCOMES if metrics[name] == 1)


class TestBugsSeenElsewhere:
    """Eight ways in which published scorers went wrong."""

    def test_1_no_best_of_first_and_last_match_and_nothing_is_dropped(self):
        # One rule, fixed: the last statement. Empty texts stay in the denominator.
        assert outcome("The answer is B. On reflection, the answer is C.") == "wrong"
        assert outcome("The answer is C. On reflection, the answer is B.") == "correct"
        assert outcome("") == outcome("  \n") == "unparsed"
        # Nor is a text mapped to the most similar option.
        assert outcome("Some kind of hepatitis, or cholangitis") == "unparsed"

    def test_2_an_options_text_counts_only_when_it_is_whole_and_alone(self):
        assert outcome("Hepatitis") == "correct"
        assert outcome("mumps and measles", key=2) == "correct"
        assert outcome("Measles") == "wrong"
        assert outcome("Hepatitis was excluded, measles too") == "unparsed"

    def test_3_nothing_is_asked_again(self):
        # One text, one verdict: what does not fit the format is not drawn anew until it does.
        assert flexible_filter([["no idea", "Answer: B"]], [doc()]) == [["", "unparsed"]]

    def test_4_what_is_not_parsed_is_wrong_not_left_out(self):
        metrics = process_generated(doc(), flexible_filter([["no idea"]], [doc()]))
        assert (metrics["acc"], metrics["unparsed"], metrics["wrong"]) == (0.0, 1.0, 0.0)

    def test_5_failures_to_parse_are_metrics_of_their_own(self):
        texts = {
            "Answer: B": "correct",
            "Answer: C": "wrong",
            "Hm.": "unparsed",
            "As an AI language model, I cannot answer medical questions.": "refused",
            "I'm sorry, but I can\u2019t help with that.": "refused",
            "<think>It may be B": "truncated",
            f"{SHORT} and then": "unparsed",
            f"{SHORT} and then the cracked lips": "truncated",
            f"{SHORT} and then the cracked lips.": "unparsed",
        }
        assert {text: outcome(text) for text in texts} == texts

    def test_6_no_letter_is_taken_from_a_word(self):
        for text in (
            "The best answer is the third one.",
            "Answer: none of these",
            "answer: cabbage",
            "ANSWER: NONE",
        ):
            assert outcome(text, key=4) == "unparsed"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("<think>A? No. The answer is C.</think>\n\nB", "B"),
            ("A? No. The answer is C.</think>Answer: B", "B"),  # the tag was opened by the prompt
            ("<think>one</think> A <think>two</think> Answer: B", "B"),
            ("<thinking>Answer: C</thinking>Answer: B", "B"),
            ("<think>The answer is B", ""),
            ("Answer: C <think>but", ""),
        ],
    )
    def test_7_thinking_is_no_answer(self, text, message):
        for find in (flexible_filter, strict_filter):
            found = find([[text]], [doc()])[0]
            if find is flexible_filter or "Answer: B" in text or not message:
                assert found[0] == message
        if not message:
            assert outcome(text) == "truncated"

    @pytest.mark.parametrize(
        ("text", "letter"),
        [
            ("A viral infection is likely", ""),
            ("a viral infection is likely", ""),
            ("The answer is a viral infection.", ""),
            ("The answer is A viral infection.", ""),
            ("not C", ""),
            ("The answer is A and C.", ""),
            ("**B**", "B"),
            (r"\boxed{C}", "C"),
        ],
    )
    def test_8_letters_in_disguise(self, text, letter):
        assert flexible_filter([[text]], [doc()])[0][0] == letter


@given(st.text())
def test_any_text_is_accepted(text):
    for find in (flexible_filter, strict_filter):
        letter, rule = find([[text]], [doc()])[0]
        assert letter in (*LETTERS, "")
        assert rule
        assert letter or rule in OUTCOMES


PIECES = [
    "answer is ",
    "Answer:",
    "\n",
    "*",
    "(",
    " ",
    "\\boxed{",
    "}",
    "<think>",
    "</think>",
    "B",
    "A and ",
    "option ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_mixture_of_patterns_is_accepted(text):
    assert extract_flexible(text, LETTERS, OPTIONS).letter in (*LETTERS, None)


@pytest.mark.parametrize(
    "piece", [" ", "*", "\n", "answer is ", "(", "\\boxed{", "<answer>", "A, ", "Answer: A and "]
)
def test_long_texts_are_quick(piece):
    # Patterns that try a run of marks in every way would take hours here; the whole suite has a time limit.
    assert extract_flexible(piece * 4000 + "x", LETTERS, OPTIONS).letter in (*LETTERS, None)


NOUNS = ["man", "fever", "viral infection", "rash of the trunk", "week of rest", "test", "53-year-old woman"]
SUBJECTS = [
    "A {}", "I think that a {}", "E. coli with a {}", "C. difficile after a {}", "Vitamin D in a {}", "B cells in a {}",
    "The answer is a {}, which", "The best answer is the third one, since a {}", "Answer: a {}", "Answer: A {}",
    "Group A streptococcus in a {}", "Type B lactic acidosis and a {}", "It is not B that a {}", "An option: a {}",
    "Both A and C mean that a {}", "The answer cannot be told from a {}", "I would choose a {}", "D-dimer after a {}",
    "Hepatitis B and a {}",
]  # fmt: skip
VERBS = ["was found.", "may explain it.", "is rare", "did not help,", "should be ruled out;", "is likely!"]


@given(
    st.lists(
        st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(NOUNS), st.sampled_from(VERBS)),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([" ", "\n", "\n\n"]),
)
def test_prose_is_no_answer(sentences, between):
    text = between.join(f"{subject.format(noun)} {verb}" for subject, noun, verb in sentences)
    assert extract_flexible(text, "ABCDEFGHI").letter is None
    assert extract_strict(text, "ABCDEFGHI").letter is None


@given(
    st.sampled_from(LETTERS),
    st.sampled_from(["Answer: {}", "The answer is {}.", "({})", "**{}**", "{}: so it is"]),
)
def test_an_answer_after_prose_is_extracted(letter, form):
    thought = "A fever points to B cells. I doubt it."
    assert flexible_filter([[f"<think>{thought}</think>{form.format(letter)}"]], [doc()])[0][0] == letter


@pytest.mark.parametrize(
    "text", ["I am not able to diagnose.", "I don't know", "we decline to answer", "I won't choose one"]
)
def test_refusals(text):
    assert classify_no_answer(text) == "refused"


@pytest.mark.parametrize(
    ("text", "full", "reason"),
    [
        (f"{SHORT} and then the cracked lips", None, "truncated"),
        (f"{SHORT} and then the cracked lips", False, "unparsed"),
        (f"{SHORT} and then the cracked lips.", True, "truncated"),
        (f"{SHORT} and then the cracked lips\nFinal answer -> B", None, "unparsed"),
        ("Hm.", None, "unparsed"),
    ],
)
def test_known_token_counts_decide_what_is_truncated(text, full, reason):
    assert classify_no_answer(text, is_full=full) == reason


def test_think_end_token():
    text = "The answer is A. DONE The answer is B."
    for find in (flexible_filter, strict_filter):
        line = text.replace("The answer is", "\nAnswer:")
        assert find([[line]], [doc()], think_end_token="DONE")[0][0] == "B"
    # lm-eval removes thinking with an end, so a text of full length is thinking without an end.
    thought = ["It may be hepatitis. The answer is A."]
    full = flexible_filter([thought], [doc()], is_full=lambda text: True, think_end_token="DONE")
    assert full == [["", "truncated"]]
    short = flexible_filter([thought], [doc()], is_full=lambda text: False, think_end_token="DONE")
    assert short == [["A", "stated"]]


def sample(text: str, *answer: str) -> dict:
    return {"resps": [[text]], "filtered_resps": [list(answer)], "filter": "flexible", "doc": doc()}


def test_answers_of_version_1_are_reproduced_by_its_rules():
    text = "Answer: A\n\nWait, let me reconsider. Answer: C"
    older, present = sample(text, "A", "answer line"), sample(text, "C", "stated")
    assert [is_answer_reproduced(older, 1.0), is_answer_reproduced(present, 1.0)] == [True, False]
    assert [is_answer_reproduced(older, 2.0), is_answer_reproduced(present, 2.0)] == [False, True]
    french = sample("La réponse est B.", "", "unparsed")
    assert [is_answer_reproduced(french, 1.0), is_answer_reproduced(french, 2.0)] == [True, False]


def test_unfinished_thinking_of_a_run_with_think_end_token_is_reproduced():
    logged = sample("It may be hepatitis. The answer is A.", "", "truncated")
    assert not is_answer_reproduced(logged, 2.0)
    assert is_answer_reproduced(logged, 2.0, has_think_end_token=True)
