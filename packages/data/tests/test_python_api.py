"""The public functions of the package: imported on first use, and the same objects as in their modules."""

import subprocess
import sys

import pytest

import medalpaca_data
from medalpaca_data.core import prompt, records
from medalpaca_data.exams import exam


def test_importing_the_package_loads_no_library():
    code = (
        "import sys\nimport medalpaca_data\n"
        "print(sorted({'polars', 'torch', 'pydantic', 'numpy', 'yaml', 'rich'} & set(sys.modules)))\n"
        "print(medalpaca_data.render('Name a vitamin.'), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n### Instruction:\nName a vitamin.\n\n### Response:\n", done.stderr


def test_public_names_are_those_of_their_modules():
    assert medalpaca_data.read_rows is records.read_rows
    assert medalpaca_data.load_exam is exam.load_exam
    assert medalpaca_data.render is prompt.render
    assert set(medalpaca_data.__all__) <= set(dir(medalpaca_data))
    for name in medalpaca_data.__all__:
        assert getattr(medalpaca_data, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'medalpaca_data' has no attribute 'load_exams'"):
        medalpaca_data.load_exams  # noqa: B018
