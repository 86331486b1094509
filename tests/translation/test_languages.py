import pytest

from hf_newsmatch.translation.languages import base_language

# as ISO 639 has them, the bibliographic codes too
THREE_LETTERS = [
    ("ces", "cs"), ("cze", "cs"), ("dan", "da"), ("deu", "de"), ("ger", "de"), ("ell", "el"), ("gre", "el"),
    ("eng", "en"), ("est", "et"), ("fin", "fi"), ("fra", "fr"), ("fre", "fr"), ("hrv", "hr"), ("hun", "hu"),
    ("isl", "is"), ("ita", "it"), ("lav", "lv"), ("lit", "lt"), ("nld", "nl"), ("dut", "nl"), ("nor", "no"),
    ("pol", "pl"), ("por", "pt"), ("ron", "ro"), ("rum", "ro"), ("rus", "ru"), ("slk", "sk"), ("slv", "sl"),
    ("spa", "es"), ("swe", "sv"), ("tur", "tr"), ("ukr", "uk"), ("zho", "zh"), ("chi", "zh"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "language"),
    [
        *THREE_LETTERS,
        ("de", "de"),
        ("de-AT", "de"),
        ("de_DE", "de"),
        (" DE ", "de"),
        ("deu_Latn", "de"),
        ("zh-Hans-CN", "zh"),
        # two letters stay, also those for which langcodes has newer ones
        ("tl", "tl"),
        ("iw", "iw"),
        ("sh", "sh"),
        # groups of languages, languages without two letters, and no codes at all
        ("gmw", "gmw"),
        ("roa", "roa"),
        ("mul", "mul"),
        ("hsb", "hsb"),
        ("tgl", "tgl"),
        ("", ""),
        ("n/a", "n/a"),
        ("123", "123"),
        ("deutsch", "deutsch"),
        ("x", "x"),
    ],
)
def test_base_language(code, language):
    assert base_language(code) == language
