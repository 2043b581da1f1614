"""Mistakes of the kind that are made, planted in a copy: the tests beside the code have to notice. Slow: one run each.

What each bug would have cost is a wrong number that looks like a right one: a p-value, an accuracy, a loss.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import ROOT
from .test_structure import MEMBERS

pytestmark = pytest.mark.slow


class Bug(NamedTuple):
    """`right` stands once in the member's only file of that name; with `wrong` in its place, `test` has to fail."""

    name: str
    member: str
    file: str
    right: str
    wrong: str
    test: str


def of(member: str, file: str, test: str, *bugs: tuple[str, str, str]) -> list[Bug]:
    return [Bug(name, f"medalpaca_{member}", file, right, wrong, test) for name, right, wrong in bugs]


BUGS = [
    *of(
        "evalharness",
        "statistics.py",
        "test_statistics.py",
        (
            "the interval is one-sided",
            "z = NormalDist().inv_cdf((1 + confidence) / 2)\n    share",
            "z = NormalDist().inv_cdf(confidence)\n    share",
        ),
        ("the interval's centre is not moved", "centre = share + z * z / (2 * n)", "centre = share"),
        ("McNemar has one tail", "min(1.0, 2 * tail / (1 << n))", "min(1.0, tail / (1 << n))"),
        ("McNemar takes a term more", "range(min(fixed, broken))", "range(min(fixed, broken) + 1)"),
        (
            "the interval contradicts the test",
            "if mcnemar_exact(fixed, broken) >= 1 - CONFIDENCE:",
            "if mcnemar_exact(fixed, broken) >= 1:",
        ),
        ("the score has the variance under equality", "2 * share + difference * (1 - difference)", "2 * share"),
        ("Holm leaves the last out", "(len(p_values) - rank) *", "(len(p_values) - rank - 1) *"),
        ("Holm does not rise", "largest = max(largest, min(1.0,", "largest = max(0.0, min(1.0,"),
        ("the bootstrap is one-sided", "tail = (1 - confidence) / 2", "tail = 1 - confidence"),
        ("ties count for nobody", "[broken, n - fixed - broken, fixed]) / n", "[broken, 0, fixed]) / n"),
    ),
    *of(
        "evalharness",
        "power.py",
        "test_power.py",
        ("significance on both sides counts once", "low + high for low, high", "low for low, high"),
        ("one pair more keeps its tail", "tail -= share * _binomial(top, pairs - 1, share)", "pass"),
        ("a difference is of the discordant", "discordant / n * (2 * fixed - 1)", "2 * fixed - 1"),
    ),
    *of(
        "evalharness",
        "outcome_difference.py",
        "test_outcome_difference.py",
        ("missing answers of base are right", "(observed + tuned_missing)", "(observed + base_missing)"),
        ("all kinds are one", "[(kind,) for kind in WITHOUT_ANSWER] + [WITHOUT_ANSWER]", "[WITHOUT_ANSWER]"),
    ),
    *of(
        "evalharness",
        "calibration.py",
        "test_calibration.py",
        (
            "the gap is of items, not of bins",
            "sum(abs(sum(f.confidence - f.right for f in members)) for members in bins)",
            "sum(abs(f.confidence - f.right) for members in bins for f in members)",
        ),
        ("the half item is left out", "ceil(coverage * len(ordered))", "int(coverage * len(ordered))"),
        ("the threshold without the one more", "(len(scores) + 1) * target", "len(scores) * target"),
    ),
    *of(
        "evalharness",
        "answer_rules.py",
        "test_answer_extraction.py",
        ("the first statement counts", "last = found[-1]", "last = found[0]"),
        (
            "the wrong answer is the answer",
            "or NEGATION_BEFORE.search(text[max(0, match.start() - 40) : match.start()])",
            "or False",
        ),
        ("an option's text that two have", "return found if len(found) == 1 else []", "return found[:1]"),
        ("any letter is an option", "if letter in letters]", "]"),
    ),
    *of(
        "train",
        "packing.py",
        "test_plan.py",
        ("what fits exactly does not fit", "(lengths[index], -1)", "(lengths[index] + 1, -1)"),
        ("every epoch in one order", "default_rng([recipe.seed, epoch])", "default_rng([recipe.seed, 0])"),
    ),
    *of(
        "train",
        "packing.py",
        "test_loss.py",
        (
            "documents see each other",
            "bounds = torch.from_numpy(ends.astype(np.int32))",
            "bounds = torch.from_numpy(ends[[0, -1]].astype(np.int32))",
        ),
        (
            "places run on",
            "np.concatenate([np.arange(length) for length in lengths])[None]",
            "np.arange(lengths.sum())[None]",
        ),
    ),
    *of(
        "train",
        "attention.py",
        "test_loss.py",
        ("the window is one too long", "(distance < window)", "(distance <= window)"),
    ),
    *of(
        "train",
        "loss.py",
        "test_loss.py",
        ("a chunk's mean", "- target_logits).sum()", "- target_logits).mean()"),
        (
            "the weights' last chunk only",
            "grad_weight.addmm_(grad_logits.T, rows)",
            "grad_weight = grad_logits.T @ rows",
        ),
    ),
    *of(
        "train",
        "loop.py",
        "test_run.py::test_micro_batches_do_not_change_the_step",
        (
            "each part by its own tokens",
            "self._loss(item) / supervised",
            "self._loss(item) / sum(sample.supervised for sample in item.samples)",
        ),
    ),
    *of(
        "train",
        "tokenize.py",
        "test_tokens.py",
        ("the prompt is learned", 'len(head) if loss == "answer" else 0', "0"),
        ("no end is taught", "ids = text if text[-1] == eos else [*text, eos]", "ids = text"),
    ),
    *of(
        "data",
        "contamination.py",
        "test_contamination.py",
        ("the first run of a text", "same = starts >= texts.offsets[owners]", "same = starts > texts.offsets[owners]"),
        ("a run by its last words", ") == index.hashes[found[same]]", ") == index.probes[found[same]]"),
        ("runs by words", "sum(found) / len(found)", "sum(found) / len(stem)"),
        ("the floor itself", "match.coverage >= floor", "match.coverage > floor"),
        ("the last of equals", "coverage > best[match.item]", "coverage >= best[match.item]"),
        ("eight words are short", "len(stem) >= MIN_WORDS", "len(stem) > MIN_WORDS"),
    ),
    *of(
        "data",
        "short_questions.py",
        "test_short_questions.py",
        ("four words are enough", "MIN_INSIDE_WORDS = 5", "MIN_INSIDE_WORDS = 4"),
        ("an answer is a question", "asked = stem in passage.spaced_question", "asked = stem in passage.spaced"),
        ("a line is no question", 'f"(?:{_LINE}|{_LABEL}){stem}', 'f"(?:{_LABEL}){stem}'),
        ("general words are enough", " or _is_general(self.question)\n", "\n"),
        ("two options are enough", "OPTIONS_BESIDE = 3", "OPTIONS_BESIDE = 2"),
        ("lettered options are sentences", r"(?<=[^\W\d_]{2}[.?!])", r"(?<=[^\W\d_][.?!])"),
        ("a general option is evidence", " and _is_specific(option)\n", "\n"),
    ),
    *of(
        "data",
        "deid/independent_check.py",
        "test_deid_independent_check.py",
        (
            "the check sees what the detector sees",
            "hits, words = model.hits(text)",
            "hits, words = model.hits(text)\n"
            "        from .find import find_identifiers\n"
            "        spans = find_identifiers([text])[0]\n"
            "        hits = [hit for hit in hits if any(s.start < hit.end and hit.start < s.end for s in spans)]",
        ),
        (
            "the detector's spans are left out",
            "from .check_model import stored\n\n    model, _, _ = stored()",
            "from .check_model import stored\n    from .find import find_identifiers\n\n"
            "    texts = [text for text in texts if not find_identifiers([text])[0]]\n    model, _, _ = stored()",
        ),
        ("the bound is the estimate", "positive + math.hypot(", "positive + 0 * math.hypot("),
    ),
    *of(
        "data",
        "exams/published_layouts.py",
        "test_exam.py",
        ("keys are numbered from 0", "LETTERS[number - base]", "LETTERS[number]"),
    ),
    *of(
        "data",
        "exams/answers.py",
        "test_exam_answers.py",
        ("a number counts from 0", "((0, 1) if base is None else (base,))", "(0,)"),
        ("the columns need not agree", "if all(letter in other for other in readings[1:])", "if letter"),
    ),
    *of(
        "data",
        "exams/step_files.py",
        "test_exam.py",
        ("keys by place", "keys.get(str(number)", "keys.get(str(n)"),
    ),
    *of(
        "data", "evaluate.py", "test_deid_evaluate.py",
        ("a part of an identifier is enough", "is_found = all(covered", "is_found = any(covered"),
        ("an annotated word is a false positive", " and not any(annotated[part])", ""),
        ("the bootstrap always draws notes", 'if unit == "templates" else counts', 'if unit == "" else counts'),
    ),
    *of(
        "data", "annotated_notes.py", "test_deid_evaluate.py",
        ("a mark counts for the position", "length = start + len(match[2])", "length = start + len(match[0])"),
        ("an age of 89 is an identifier", "max(numbers) > 89", "max(numbers) > 88"),
    ),
    *of(
        "data", "ner_model.py", "test_deid_ner.py",
        ("a sub-word is covered alone", "= _whole_words(text, tag.start, tag.end)", "= tag.start, tag.end"),
        ("the end of a window has context", "if n < count - 1 else size", "if n < 0 else size"),
    ),
    *of(
        "demo",
        "routes.py",
        "test_routes.py",
        (
            "recordings are accepted",
            '("POST", "/login"),',
            '("POST", "/login"),\n        ("POST", "/gradio_api/process_recording"),',
        ),
        ("a route and what follows", "_ALLOWED.fullmatch(", "_ALLOWED.match("),
        ("a log-out by a link", '("POST", "/logout"),', '("POST", "/logout"),\n        ("GET", "/logout"),'),
        ("any origin", "return not origin or _authority(origin) ==", "return True or _authority(origin) =="),
        ("the same site is the same origin", 'return site == "same-origin"', 'return site != "cross-site"'),
        ("the scheme is not compared", "return parts.scheme, parts.hostname,", 'return "http", parts.hostname,'),
        ("a body of any size", "int(length) > MAX_BODY_BYTES else 0", "int(length) < 0 else 0"),
    ),
    *of(
        "demo",
        "server.py",
        "test_server.py::test_temporary_files_are_private_and_removed",
        (
            "files stay",
            'with TemporaryDirectory(prefix="medalpaca-demo-") as folder:',
            'for folder in [__import__("tempfile").mkdtemp(prefix="medalpaca-demo-")]:',
        ),
        ("files of all users", 'os.environ["GRADIO_TEMP_DIR"] = folder', 'os.environ["GRADIO_TEMP_DIR"] = "/tmp"'),
    ),
    *of(
        "demo",
        "access.py",
        "test_access.py",
        ("cookies in clear text", 'secure = [b"Secure"] if self._encrypted else []', "secure = []"),
        ("cookies for every site", 'b"SameSite=Lax"', 'b"SameSite=None"'),
        ("sessions without an end", "> self._clock()\n", "> 0\n"),
        ("a stranger locks the name", "(keys[:1] if self._is_recent(user) else keys)", "keys"),
        (
            "a known user guesses",
            "max(self.wait(key) for key in (keys[:1] if self._is_recent(user) else keys))",
            "0 if self._is_recent(user) else max(self.wait(key) for key in keys)",
        ),
        ("recent for ever", "user, -RECENT_SECONDS) < RECENT_SECONDS", "user, -RECENT_SECONDS) < 1e12"),
        ("a name without a limit", '("name", user[0]), ', ""),
    ),
    *of(
        "demo",
        "routes.py",
        "test_access.py",
        ("no HSTS", '[HSTS] if scope["scheme"] == "https"', '[] if scope["scheme"] == "https"'),
    ),
    *of(
        "demo",
        "browse.py",
        "test_results.py::test_a_formula_in_an_id_is_text_in_the_csv",
        (
            "a formula in an id",
            '"p_key_base", "p_key_tuned"], lines)',
            '"p_key_base", "p_key_tuned"], lines).replace("\\n\'=", "\\n=")',
        ),
        (
            "a formula in a subject",
            '"p_key_base", "p_key_tuned"], lines)',
            '"p_key_base", "p_key_tuned"], lines).replace(",\'@", ",@")',
        ),
    ),
    *of(
        "data",
        "core/untrusted.py",
        "test_untrusted.py",
        ("an escape is printed", "*range(11, 32)", "*range(11, 27), *range(28, 32)"),
        ("commands of 8 bits are printed", "*range(127, 160))}", "127)}"),
        ("JSON with commands of 8 bits", "for code in range(127, 160)}", "for code in range(127, 128)}"),
        ("a tab before a formula", '"@", "\\t",', '"@",'),
        ("an at sign", '"-", "@",', '"-",'),
        ("headings with formulas", "for row in (headings, *rows))", "for row in rows)"),
    ),
    *of(
        "data",
        "core/cli.py",
        "test_untrusted.py",
        ("tables with commands", "text if control else printable(text)", "text"),
        ("lines with commands", 'printable(line) + "\\n"', 'line + "\\n"'),
    ),
    *of(
        "data",
        "core/errors.py",
        "test_untrusted.py",
        (
            "errors with commands",
            'return printable(" ".join(str(error).split()))',
            'return " ".join(str(error).split())',
        ),
    ),
    *of(
        "data",
        "core/files.py",
        "test_untrusted.py",
        ("a pipe is a file", "if not (stat.S_ISREG(mode)", "if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)"),
        ("a hash of a pipe", "with existing(path).open", "with path.open"),
    ),
    *of(
        "data",
        "core/weights.py",
        "test_weights.py",
        (".pth is accepted", '".pth", ', ""),
        (".pickle is accepted", '".pickle", ', ""),
        ("any other suffix", "if suffix not in MODEL_SUFFIXES and", "if False and"),
        ("code beside the weights", '"", ".safetensors",', '"", ".py", ".safetensors",'),
        ("a dictionary of kernels", "(key if key in CODE_KEYS else inner, held)", "(inner, held)"),
        ("kernels that begin well", "re.fullmatch(pattern, str(value))", "re.match(pattern, str(value))"),
        ("experts by name", '"_experts_implementation": _EXPERTS,', '"_experts": _EXPERTS,'),
        ("any library", r'(r"transformers\.models\.\w+\.modeling_\w+"', r'(r"[\w.]+"'),
        ("any module of the library", r"\.models\.\w+\.modeling_\w+", r"\.[\w.]+"),
    ),
    *of(
        "evalharness",
        "preflight.py",
        "test_preflight_sealed.py",
        ("one of two caches", '("use_cache", "cache_requests")', '("use_cache",)'),
        ("caches of our tasks only", "    refuse_caches(call)\n    names =", "    names ="),
        ("models of our tasks only", "        identify_model(_metadata(call))\n        return\n", "        return\n"),
    ),
]  # fmt: skip


def run(test: Path, source: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """One test file, with the package as it is under `source`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),  # before what is installed
        "OMP_NUM_THREADS": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(home),
    }
    # A copy is not what .ci/run measures.
    environment.pop("COVERAGE_PROCESS_START", None)
    environment.pop("COVERAGE_PROCESS_CONFIG", None)
    words = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=line", "--hypothesis-seed=0")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words, test],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def copy(member: str, folder: Path) -> Path:
    return shutil.copytree(
        MEMBERS[member] / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__")
    )


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_bug_is_noticed(bug, tmp_path):
    source = copy(bug.member, tmp_path)
    [file] = source.rglob(bug.file)
    text = file.read_text(encoding="utf-8")
    assert text.count(bug.right) == 1, "the line has changed: plant the bug in the new one"
    file.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
    done = run(MEMBERS[bug.member] / "tests" / bug.test, source, tmp_path)
    # 1: a test has failed. A file that cannot be imported at all would be 2.
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-1000:]
    assert "1 failed" in done.stdout


@pytest.mark.parametrize(("member", "test"), sorted({(bug.member, bug.test) for bug in BUGS}))
def test_the_copy_without_a_bug_passes(member, test, tmp_path):
    done = run(MEMBERS[member] / "tests" / test, copy(member, tmp_path), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
