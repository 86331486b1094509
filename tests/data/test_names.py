import pytest

from hf_newsmatch.data.names import is_inside


@pytest.mark.parametrize("name", ["a.jpg", "sub/a.jpg", "sub\\a.jpg", "..a.jpg", "a..jpg", "./a.jpg"])
def test_names_inside_the_folder(name):
    assert is_inside(name)


@pytest.mark.parametrize(
    "name",
    ["/etc/a.jpg", "../a.jpg", "sub/../../a.jpg", "..\\a.jpg", "\\\\host\\a.jpg", "C:\\a.jpg", "c:a.jpg", "a\0.jpg"],
)
def test_names_outside_the_folder(name):
    assert not is_inside(name)
