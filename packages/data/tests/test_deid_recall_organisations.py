"""The profile `recall`: organisations, plates, towns, German persons, small letters, and words that stay."""

import importlib.util
import re
from pathlib import Path

import pytest

from medalpaca_data.deid.find import find_identifiers
from medalpaca_data.deid.recall_tokens import is_german

TOOLS = Path(__file__).parents[3] / "tools"
LISTS = Path(__file__).parents[1] / "src/medalpaca_data/deid/lists"
# Identifiers in [[ ]]: each must be covered to its last letter and digit, and no other word.
FORMS = [
    # A capitalised or unknown word before the word of an organisation.
    "He came from [[Larkspur Care Home]] and goes to [[Copper Pharmacy]] for refills.",
    "Seen at the [[Whitestone Health Centre]], then at [[Millfield Walk-in Centre]].",
    "Transferred to [[Our Lady of Lourdes Hospital]] by ambulance.",
    "The sleep clinic and the Fracture Clinic are closed; Cardiac Rehabilitation Unit called.",
    # Legal forms and employers.
    "He works for [[Takeshima plc]], formerly at [[Wexcombe Foods Ltd]].",
    "Employer: [[LarkspurNet]]",
    "Der Patient arbeitet bei [[Bäumler GmbH & Co. KG]] und war krank.",
    "Der Patient ist Dachdecker bei [[Metallbau Trautwein]] und nicht im Dienst.",
    # German organisations: compounds, a name after, an adjective before.
    "Sie wurde in die [[Achterberg-Klinik]] verlegt und nicht in das Krankenhaus der Region.",
    "Histologie ist im [[Labor Tietz]], Rezepte sind bei der [[Schwanen-Apotheke]].",
    "Die Behandlung erfolgt im [[Evangelisches Krankenhaus Weilheim]] und in der [[Fachklinik Eichengrund]].",
    "Die Patientin wurde aus dem [[St.-Vinzenz-Hospital]] in ein Pflegeheim verlegt.",
    # Vehicle plates.
    "Struck a blue car, plate [[NM 69442]], and left.",
    "Der PKW mit dem Kennzeichen [[WM D 466]] und die Fahrerin wurden nicht gefunden.",
    "Die Testung ergab einen BDI-II 31 und ist nicht auffällig.",
    # Towns of two words.
    "She lives in [[Walwall Falls]] with a dog.",
    "Die Patientin ist aus [[Bad Oberbergburg]] und wurde nicht verlegt.",
    # German persons: a role, "durch", a verb after the name, a compound in no list after a given name.
    "Der Befund wurde mit Betriebsarzt [[Achterberg]] besprochen und ist nicht neu.",
    "Das Konsil wurde angefordert durch [[Stuhlmacher]].",
    "[[Kessler]] wurde auf die Station verlegt und ist nicht nüchtern.",
    "Zeuge ist [[Jörg Stuhlmacher]], der Befund ist nicht neu.",
    # German dates at the beginning of an entry.
    "[[28.04.]] Husten, die Auskultation ist frei und der Puls nicht erhöht.",
    # Names in small letters.
    "[19:26] [[jorola]]: who is covering\n[19:40] [[marlie]]: not me",
    "hello doctor i am [[sira nkogoke]] and my back hurts a lot since then, should i take more",
    # Words that stay: doses, lists of drugs, parts of German compounds, nouns after an article.
    "Fylprax 7 mg was given; then Zorvix, Lisinopril and rest.",
    "Die Okulomotorik ist unauffällig, der Aufnahmebefund und die Voraufnahme liegen vor.",
    "Nach der Hüft-TEP wurde die Trinkmenge erhöht, das Sturzrisiko ist hoch.",
]


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_found_to_their_last_letter_and_nothing_else(form):
    text = re.sub(r"\[\[|\]\]", "", form)
    expected = [word for part in re.findall(r"\[\[(.*?)\]\]", form) for word in re.findall(r"\w+", part)]
    covered = {
        n for span in find_identifiers([text], profile="recall")[0] for n in range(span.start, span.end)
    }
    found = [match[0] for match in re.finditer(r"\w+", text) if covered & set(range(*match.span()))]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "german"),
    [
        ("Aufnahme am 3. Mai, Husten seit Tagen.", True),
        ("Patientin wach, orientiert. Blutdruck 120/80, Puls 72.", True),
        ("Patient awake, oriented. Blood pressure 120/80, pulse 72.", False),
        ("Seen by Dr. Koch and Dr. Braun; Frau Kaiser was informed.", False),
    ],
)
def test_the_language_is_that_of_most_words(text, german):
    assert is_german(text) is german


@pytest.mark.slow
def test_the_whitelists_are_what_the_script_writes(real, tmp_path):
    """The script reads MedQuAD and PubMedQA without its test questions."""
    spec = importlib.util.spec_from_file_location("make_whitelist", TOOLS / "make_whitelist.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(real, tmp_path)
    for name in ("medical.txt", "terms.txt"):
        assert (tmp_path / name).read_bytes() == (LISTS / name).read_bytes()
