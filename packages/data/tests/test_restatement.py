"""Which rows restate each other: only spelling, function words and marks without a meaning may differ."""

import json
import random

import pytest

from medalpaca_data.stages.restatement import canonical_form

SENTENCE = (
    "In adults with {} who are seen in the clinic, the first step of the treatment is {} before the second visit, and "
    "the family is informed of the result by the team on duty in writing."
)


def same(one: str, other: str) -> bool:
    return canonical_form(one) == canonical_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The tumour is benign.", "tumor is benign"),
        ("Anaemia, oedema and diarrhoea in paediatric care", "ANEMIA, EDEMA AND DIARRHEA IN PEDIATRIC CARE"),
        ("Randomised trials of haemodialysis", "randomized trials of the hemodialysis"),
        (
            "A randomised trial of leucocytes, 1 litre of fibre.",
            "Randomized trial of leukocytes, 1 liter fiber",
        ),
        ("It is labelled as grey; the centre is analysed.", "Is labeled as gray; center is analyzed"),
        ("Crohn's disease doesn\u2019t recur", "Crohns disease doesn't recur"),
        ("- rest of a day\n- 5mg", "\u2022 Rest of a day;\n- 5 mg."),
        ("What does X-ray show?", "What does the x\u2011ray show"),
        ("Follow-up at 6\u20138 weeks (P <0.05)", "follow-up  at 6-8 weeks (P < 0.05)"),
        ("He said: \u201cGout is old\u201d \u2013 and left", 'he said: "Gout is old" - and left'),
        ("Rest is enough.\nThen walk", "Rest is enough. Then walk"),
        ("Hepatitis A is a viral disease.", "HEPATITIS A IS VIRAL DISEASE"),
        ("Pain & fever", "pain and fever"),
        ("The oesophagus, the foetus and gynaecology", "esophagus, fetus and gynecology"),
        ("Tumour\u00adnecrosis, anæmia", "tumornecrosis, anaemia"),
    ],
)
def test_a_restatement_has_the_same_form(one, other):
    assert same(one, other)


@pytest.mark.parametrize(
    "text",
    [
        "Anaemia, oedema and diarrhoea in paediatric care",
        "It is labelled as grey; the centre is analysed.",
        "Crohn's disease doesn\u2019t recur",
        "Hepatitis A is a viral disease",
        "Follow-up at 6\u20138 weeks (P <0.05)",
    ],
)
def test_capitals_of_whole_words_are_no_difference(text):
    assert same(text.upper(), text)
    assert same(text.title().replace("'S", "'s").replace("\u2019T", "\u2019t"), text.lower())


# Pairs of words that are taken for each other, in print or in speech. All are different drugs, places or findings.
CONFUSED = """
ilium ileum, perineal peroneal, peritoneal perineal, hypotension hypertension, hypoglycaemia hyperglycaemia,
hypokalemia hyperkalemia, hyponatremia hypernatremia, hypothyroidism hyperthyroidism, abduction adduction,
afferent efferent, inter intra, intravenous intravenously, arteritis arthritis, arthritis arthrosis,
prostate prostrate, mucus mucous, malleus malleolus, dysphagia dysphasia, dysphasia dysplasia, aphagia aphasia,
bradycardia brachycardia, trachelectomy tracheotomy, tracheotomy tracheostomy, colectomy colostomy, cystitis cystosis,
hepatitis hepatosis, nephritis nephrosis, neuritis neurosis, diverticulitis diverticulosis, cirrhosis sclerosis,
ureter urethra, ureteral urethral, vesical vesicle, cor core, osteal ostial, palpation palpitation, plural pleural,
gastroscopy gastrostomy, bile bite, sight site, humeral humoral, discreet discrete, afebrile febrile,
symptomatic asymptomatic, typical atypical, septic aseptic, pyrexia apyrexia, reversible irreversible,
chlorpromazine chlorpropamide, chlorpropamide chlorpromazine, prednisone prednisolone, hydralazine hydroxyzine,
cefotaxime cefoxitin, cefazolin cefprozil, cefuroxime cefotaxime, clonidine klonopin, clonazepam lorazepam,
quinine quinidine, dopamine dobutamine, vinblastine vincristine, cisplatin carboplatin, doxorubicin daunorubicin,
amiodarone amrinone, glipizide glyburide, tramadol trazodone, methadone methylphenidate, zantac xanax,
losec lasix, celebrex cerebyx, inderal isordil, fluoxetine fluvoxamine, paroxetine duloxetine, sumatriptan zolmitriptan,
ephedrine epinephrine, epinephrine norepinephrine, adrenaline noradrenaline, estradiol estriol, estrone estriol,
thiamine thymine, guanidine guanosine, uridine uracil, adenine adenosine, cytosine cytidine, leucine isoleucine,
leucovorin leukeran, folic folinic, sulfadiazine sulfasalazine, acetohexamide acetazolamide, propranolol prazosin,
penicillamine penicillin, azithromycin erythromycin, tobramycin vancomycin, amoxicillin ampicillin, hexaene hexene,
cholesterol cholestenol, nitrate nitrite, sulfate sulfite, sulfide sulfite, chloride chlorate, iodide iodine,
fluorine fluoride, ferric ferrous, cupric cuprous, ethanol methanol, ethyl methyl, propyl butyl, alkane alkene,
mg ug, mg μg, mg g, ml l, mmol mol, hours days, daily hourly, weekly monthly, one six, two ten, twice thrice, half full,
first third, before after, with without, under over, above below, more less, increases decreases, high low, left right,
anterior posterior, medial lateral, proximal distal, upper lower, may must, can cannot, always never, all no, some none,
any every, and or, to from, in on, by for, is was, not now, he she, his her, males females, man men, child children,
kidney kidneys, mother father, son sun, positive negative, benign malignant, acute chronic, causes cures, start stop
"""
PAIRS = [tuple(pair.split()) for pair in CONFUSED.replace("\n", " ").split(",")]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_words_that_are_taken_for_each_other_are_different(one, other):
    assert not same(SENTENCE.format(one, "rest"), SENTENCE.format(other, "rest"))
    assert not same(SENTENCE.format("asthma", one), SENTENCE.format("asthma", other))
    assert not same(SENTENCE.format(one, other), SENTENCE.format(other, one))
    assert not same(SENTENCE.format("asthma", one).upper(), SENTENCE.format("asthma", other))


LEFT_OUT = (
    "not no never without hardly rarely only before after until during more less than at least most all some any one "
    "two first twice under over above below in on to from by for with against left right may should must can if unless "
    "except was will he she and or nor neither both each every few many much such very too so"
)


@pytest.mark.parametrize("word", LEFT_OUT.split())
def test_a_word_that_is_left_out_is_a_difference(word):
    assert not same(SENTENCE.format("asthma", f"{word} rest"), SENTENCE.format("asthma", "rest"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("No treatment is needed: wait and see", "No: treatment is needed, wait and see"),
        ("No treatment is needed.", "No. Treatment is needed."),
        ("No treatment is needed", "No\ntreatment is needed"),
        ("Give the drug, not the vaccine", "Give the drug not, the vaccine"),
        ("Do not, stop", "Do not stop"),
        ("It is (not) needed", "It is not needed"),
        ("A non-small cell", "A non small-cell"),
        ("Wait 5\u2032", "Wait 5\u2033"),
        ("Wait 5'", 'Wait 5"'),
        ("Wait 5'", "Wait 5"),
        ("HBsAg- donors", "HBsAg donors"),
        ("Rh- donors", "Rh donors"),
        ("Rh+ donors", "Rh donors"),
        ("a pause of 5 mS", "a pause of 5 ms"),
        ("a dose of 2 Mg", "a dose of 2 mg"),
        ("a current of 5 pA", "a current of 5 PA"),
        ("low Mg in serum", "low mg in serum"),
        ("low mRNA", "low MRNA"),
        ("a change from 5 -3", "a change from 5-3"),
        ("5 * 3 mg", "5 3 mg"),
        ("One; two", "One, two"),
    ],
)
def test_marks_and_case_with_a_meaning_are_differences(one, other):
    assert not same(one, other)


def test_case_of_whole_words_and_litres_is_free():
    assert same("Give 5 mL of SALINE in the Vein", "GIVE 5 ml OF saline in the vein")
    assert same("Eye drops. The dose of gout", "eye drops. the Dose of Gout")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a dose of .5 mg", "a dose of 5 mg"),
        ("a dose of 0.5 mg", "a dose of 0,5 mg"),
        ("1/2 tablet", "1-2 tablet"),
        ("1.5 mg", "1 5 mg"),
        ("10^9 cells", "109 cells"),
        ("10⁹ cells", "10 cells"),
        ("INR > 3", "INR < 3"),
        ("INR ≥ 3", "INR > 3"),
        ("5 % of", "5 of"),
        ("a change of -5 mmHg", "a change of 5 mmHg"),
        ("a change of \u22125 mmHg", "a change of +5 mmHg"),
        ("HER2- cancer", "HER2 cancer"),
        ("HER2+ cancer", "HER2- cancer"),
        ("5 mg/kg", "5 mg kg"),
        ("NO reduces the tone", "no reduces the tone"),
        ("ALL is a cancer", "all is a cancer"),
        ("the WHO patients", "the patients who"),
        ("Vaccine against hepatitis A in adults", "Vaccine against hepatitis in adults"),
        ("Blood of group A is given", "Blood of group is given"),
        ("Patients with A antigen are seen", "Patients with antigen are seen"),
        ("a symptomatic patient", "asymptomatic patient"),
        ("The patient is in appropriate care", "The patient is inappropriate care"),
        ("It can't recur", "It can recur"),
        ("It doesn't recur", "It does recur"),
        ("Asthma causes stress", "Stress causes asthma"),
        ("Asthma is caused by smoke", "Asthma caused smoke"),
        ("\u03b2-blocker", "\u03b1-blocker"),
        ("Er drückt", "Er druckt"),
        ("Das Bild hängt an der Wand", "Das Bild hängt der Wand"),
        ("Neem de tablet met het water of melk", "Neem de tablet met het water melk"),
        ("El paciente va a la clínica", "El paciente va la clínica"),
        ("Große Masse", "Große Maße"),
        ("रोग है", "रोगी है"),
        ("♀ patients", "♂ patients"),
    ],
)
def test_symbols_numbers_and_names_are_differences(one, other):
    assert not same(one, other)


def test_texts_stay_separate():
    assert canonical_form("fever", "and cough") != canonical_form("fever and", "cough")


def test_an_edit_of_a_letter_is_a_difference_unless_a_spelling_rule_covers_it():
    """Every word of a list, with one letter left out, doubled or replaced, at every place."""
    rng = random.Random(1)
    for word in (
        "metformin",
        "warfarin",
        "insulin",
        "femur",
        "stroke",
        "tetanus",
        "morphine",
        "digoxin",
        "heparin",
    ):
        for place in range(len(word)):
            letter = rng.choice([x for x in "bcdfghjkmnpqrtvwxz" if x != word[place]])
            for edited in (
                word[:place] + word[place + 1 :],
                word[:place] + letter + word[place + 1 :],
                word[:place] + letter + word[place:],
            ):
                assert not same(f"give {word} now", f"give {edited} now"), edited


def test_the_opposite_statements_of_the_cases_stay(real):
    file = real.parent / "cases" / "data" / "near_duplicates.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({canonical_form(row["instruction"], row["input"], row["output"]) for row in rows}) == 6
