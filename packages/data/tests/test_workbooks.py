"""Cells of workbooks: numbers by their format, merged ranges, struck-through text and error values."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from medalpaca_data.core.errors import BadRecord
from medalpaca_data.core.records import FileNote
from medalpaca_data.formats.cell_formats import show_number
from medalpaca_data.formats.tabular import read_sheet_records


def workbook(
    path: Path, rows: str, *, formats: tuple[str, ...] = (), merged: str = "", fonts: str = "<font/>"
):
    """Write a sheet with the given XML of its rows. Style n has the nth format; style 99 has the second font."""
    codes = "".join(
        f"<numFmt numFmtId='{164 + n}' formatCode={quoteattr(code)}/>" for n, code in enumerate(formats)
    )
    styles = "".join(f"<xf numFmtId='{164 + n}' fontId='0'/>" for n in range(99))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "xl/styles.xml",
            f"<styleSheet><numFmts>{codes}</numFmts><fonts>{fonts}</fonts>"
            f"<cellXfs>{styles}<xf numFmtId='0' fontId='1'/></cellXfs></styleSheet>",
        )
        cells = f"<mergeCells>{merged}</mergeCells>" if merged else ""
        file.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet><sheetData>{rows}</sheetData>{cells}</worksheet>"
        )
    return path


def text(cell: str, value: str, style: str = "") -> str:
    return f"<c r='{cell}' t='inlineStr'{style}><is><t>{value}</t></is></c>"


def row(number: int, *cells: str) -> str:
    return f"<row r='{number}'>{''.join(cells)}</row>"


def read(path: Path):
    notes: list[FileNote] = []
    return dict(read_sheet_records(path, on_note=notes.append)), notes


# The texts that Excel 365 and LibreOffice show for these stored values. Digits that a format hides are kept.
SHOWN = [
    ("37.799999999999997", "", "37.8"),
    ("1.1000000000000001", "", "1.1"),
    ("0.10000000000000001", "General", "0.1"),
    ("1.0000000000000001E-5", "", "0.00001"),
    ("6.0220000000000003E+23", "", "6.022E+23"),
    ("-2.2999999999999998", "", "-2.3"),
    ("5.0", "", "5"),
    ("1234567890123456789", "", "1234567890123456789"),
    ("0", "", "0"),
    ("7.0000000000000007E-2", "0%", "7%"),
    ("7.4999999999999997E-2", "0%", "7.5%"),
    ("0.56999999999999995", "0.0%", "57.0%"),
    ("5", '0.0" mg"', "5.0 mg"),
    ("2.5", '0.0" mg"', "2.5 mg"),
    ("2.25", '0.0" mg"', "2.25 mg"),
    ("37.799999999999997", '0.0\\ "\u00b0C"', "37.8 \u00b0C"),
    ("120", 'General" mmHg"', "120 mmHg"),
    ("5", '"ca. "0\\ \\m\\g', "ca. 5 mg"),
    ("3", '"\u2265"0', "\u22653"),
    ("42", "000000", "000042"),
    ("1234567", "000000", "1234567"),
    ("7", "00.00", "07.00"),
    ("0.5", "#.##", "0.5"),
    ("0.5", "0.###", "0.5"),
    ("5551234", "000-0000", "555-1234"),
    ("1500", "#,##0", "1500"),
    ("12000", '0.0,"k"', "12.0k"),
    ("-5", '0" mmol/L"', "-5 mmol/L"),
    ("-5", '0" mmol/L";-0" mmol/L"', "-5 mmol/L"),
    ("-5", "0;[Red]0", "-5"),
    ("-5", "0;(0)", "(5)"),
    ("0", '0;-0;"none"', "none"),
    ("1", '"yes";;"no"', "yes"),
    ("5", ";;;", "5"),
    ("9.5", "[$\u20ac-407]\\ 0.00", "\u20ac 9.50"),
    ("0.5", '# ?/?" tablet"', "0.5 tablet"),
    ("1500000000", "0.00E+00", "1500000000"),
    ("5", '[<10]0" mg";0" g"', "5 mg"),
    ("n/a", '0" mg"', "n/a"),
    ("45123", "date", "2023-07-16"),
]


@pytest.mark.parametrize(("value", "code", "shown"), SHOWN)
def test_a_number_is_what_excel_shows(value, code, shown):
    assert show_number(value, code) == shown


def test_numbers_of_a_sheet_have_the_unit_of_their_format(tmp_path):
    rows = row(1, text("A1", "instruction"), text("B1", "output")) + "".join(
        row(n, text(f"A{n}", "Q"), f"<c r='B{n}'{style}><v>{value}</v></c>")
        for n, (style, value) in enumerate(
            [(" s='0'", "5"), (" s='1'", "42"), (" s='2'", "45123"), (" s='3'", "1.0416666666666667")], 2
        )
    )
    rows += row(6, text("A6", "Q"), "<c r='B6'><v>37.799999999999997</v></c>")
    path = workbook(tmp_path / "w.xlsx", rows, formats=('0.0" mg"', "000000", 'd" day "m', "[h]:mm"))
    found, notes = read(path)
    assert [record["output"] for record in found.values()] == [
        "5.0 mg",
        "000042",
        "2023-07-16",
        "1.04166666666667",
        "37.8",
    ]
    assert notes == []


HEADINGS = row(1, text("A1", "input"), text("B1", "instruction"), text("C1", "output"))


def test_each_row_of_a_merged_range_has_its_text(tmp_path):
    rows = (
        HEADINGS
        + row(2, text("A2", "Case 1"), text("B2", "First drug?"), text("C2", "a"))
        + row(3, "<c r='A3'/>", text("B3", "Second drug?"), text("C3", "b"))
        + row(4, text("B4", "Third drug?"), text("C4", "c"))
        + row(5, text("B5", "No case?"), text("C5", "d"))
        + row(6, text("A6", "Case 2"), text("B6", "Two lines?"), text("C6", "e"))
        + row(8, text("A8", "Wide"), text("C8", "f"))
    )
    merged = "".join(f"<mergeCell ref='{ref}'/>" for ref in ("A2:A4", "A6:A7", "B6:B7", "C6:C7", "A8:B8"))
    found, notes = read(workbook(tmp_path / "w.xlsx", rows, merged=merged))
    assert [(place, record["input"], record["instruction"]) for place, record in found.items()] == [
        ("row 2", "Case 1", "First drug?"),
        ("row 3", "Case 1", "Second drug?"),
        ("row 4", "Case 1", "Third drug?"),
        ("row 5", "", "No case?"),
        ("row 6", "Case 2", "Two lines?"),
        ("row 8", "Wide", ""),
    ]
    assert notes == [FileNote(file="w.xlsx", filled_cells=2)]
    assert notes[0].text == "2 cells filled from merged ranges"


def test_headings_over_two_rows_are_no_text_of_the_second(tmp_path):
    rows = HEADINGS + row(2, text("B2", "Q"), text("C2", "a"))
    found, notes = read(workbook(tmp_path / "w.xlsx", rows, merged="<mergeCell ref='A1:A2'/>"))
    assert (found, notes) == ({"row 2": {"input": "", "instruction": "Q", "output": "a"}}, [])


def test_struck_through_text_rejects_its_row(tmp_path):
    runs = "<r><rPr><strike/></rPr><t>10 mg</t></r><r><t xml:space='preserve'> 5 mg</t></r>"
    blank = "<r><rPr><strike/></rPr><t> </t></r><r><rPr><strike val='0'/></rPr><t>5 mg</t></r>"
    own = "<r><rPr><b/></rPr><t>8 mg</t></r>"
    struck = " s='99'"
    rows = (
        HEADINGS
        + row(2, text("B2", "Q"), f"<c r='C2' t='inlineStr'><is>{runs}</is></c>")
        + row(3, text("B3", "Q"), f"<c r='C3' t='inlineStr'><is>{blank}</is></c>")
        + row(4, text("B4", "Q"), text("C4", "6 mg", struck))
        + row(5, text("B5", "Q"), f"<c r='C5'{struck}><v>7</v></c>")
        + row(6, text("B6", "Q"), f"<c r='C6' t='inlineStr'{struck}><is>{own}</is></c>")
    )
    found, _ = read(workbook(tmp_path / "w.xlsx", rows, fonts="<font/><font><strike/></font>"))
    faults = {place: bad.reason for place, bad in found.items() if isinstance(bad, BadRecord)}
    assert faults == dict.fromkeys(("row 2", "row 4", "row 5"), "struck-through text in a cell")
    assert [found[place]["output"] for place in ("row 3", "row 6")] == ["5 mg", "8 mg"]


ERRORS = [
    "#N/A",
    "#DIV/0!",
    "#REF!",
    "#VALUE!",
    "#NAME?",
    "#NUM!",
    "#NULL!",
    "#SPILL!",
    "#CALC!",
    "#NV",
    "#WERT!",
]
ERRORS += ["#BEZUG!", "#\u00a1VALOR!", "#\u00bfNOMBRE?", "#N/D", "#GETTING_DATA"]
TEXTS = ["#1", "# A", "#NoFilter", "#A!x", "N/A", "Use #REF!", "#hashtag", "##"]


def test_an_error_value_rejects_its_row(tmp_path, write):
    from medalpaca_data.core.records import read_records

    rows = HEADINGS + "".join(
        row(n, text(f"B{n}", "Q"), f"<c r='C{n}' t='e'><v>{value}</v></c>")
        for n, value in enumerate(ERRORS[:3], 2)
    )
    found, _ = read(workbook(tmp_path / "w.xlsx", rows))
    reason = "an error value of a spreadsheet in a cell, such as #N/A"
    assert [bad.reason for bad in found.values()] == [reason] * 3
    lines = "".join(f"Q,{value}\n" for value in (*ERRORS, *TEXTS))
    found = dict(read_records(write("r.csv", "instruction,output\n" + lines)))
    assert [bad.reason for bad in found.values() if isinstance(bad, BadRecord)] == [reason] * len(ERRORS)
    assert [record["output"] for record in found.values() if not isinstance(record, BadRecord)] == TEXTS
