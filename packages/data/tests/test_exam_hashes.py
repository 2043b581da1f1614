"""The exams by which scores are published: their hashes, which no change of a reader or a layout may alter."""

import pytest

from medalpaca_data.exams.exam import load_exam

# A changed item, letter or order makes another exam, and scores on the two are not comparable.
BUNDLED = {
    "medalpaca_pocket": (408, "29118119f5a9aad30711e74ccfc7034b0711e2c53a87374ca192848da4e6840d"),
    "medalpaca_vignettes": (60, "00f5b1246322625eea276c82482e270752d8611bad6c5a101bb38a82c3f833a3"),
}
# The USMLE sample questions of 2022, without and with the items that need a picture.
STEP_FILES = {
    "exclude": (324, "247cfd7076b48004fa631e69815377f9262d3742dd9860a64572e7ce4c7fc372"),
    "keep": (371, "1851b0a23fedefa808d6614dff47998ed1e8fa7af1e9a920e1e66df6313e16d9"),
}


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_exam_keeps_its_hash(name):
    exam = load_exam(name)
    assert (len(exam.items), exam.sha256) == BUNDLED[name]


@pytest.mark.parametrize("images", STEP_FILES)
def test_the_step_files_keep_their_hash(real, images):
    exam = load_exam(real / "usmle_sample" / "medalpaca_format", images=images)
    assert (len(exam.items), exam.sha256) == STEP_FILES[images]
