"""Files: what is written appears whole or not at all, and errors name the file."""

import hashlib
import os

import pytest

from fiveshot.core.errors import FiveshotError
from fiveshot.core.files import atomic_write, read_json, sha256, write_json, write_text


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "deeper" / "a #1.txt"
    write_text(path, "grün\n")
    assert path.read_text(encoding="utf-8") == "grün\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_inside_the_block_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(error), atomic_write(path) as part:
        part.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_readable_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_write(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_full_disk_is_one_sentence_about_the_wanted_file(tmp_path):
    path = tmp_path / "a.txt"
    with (
        pytest.raises(FiveshotError, match=r"a\.txt: could not be written \(No space left"),
        atomic_write(path),
    ):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("deeper", ["a.txt", "b/a.txt"])
def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path, deeper):
    (tmp_path / "file").write_text("")
    with pytest.raises(FiveshotError, match="could not be written"):
        write_text(tmp_path / "file" / deeper, "text")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root writes where it likes")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FiveshotError, match=r"could not be written \(Permission denied\)"):
            write_text(tmp_path / "a.txt", "text")
    finally:
        tmp_path.chmod(0o700)


def test_a_leftover_that_cannot_be_removed_does_not_hide_the_first_error(tmp_path):
    with pytest.raises(RuntimeError, match="the first"), atomic_write(tmp_path / "a.txt") as part:
        part.mkdir()  # unlink refuses a folder, as a read-only disk refuses any file
        raise RuntimeError("the first")


def test_json_is_read_back_equal(tmp_path):
    value = {"ü": [1, 2.5, None, True], "b": {"c": "d"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_json_that_others_could_not_read_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "\ufeff{}", b"\xff"])
def test_damaged_json_is_one_sentence(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FiveshotError, match=r"a\.json: not a readable JSON file"):
        read_json(tmp_path / "a.json")


def test_absent_json_is_one_sentence(tmp_path):
    with pytest.raises(FiveshotError, match="there is no such file"):
        read_json(tmp_path / "a.json")


def test_the_digest_of_a_file_is_that_of_all_its_bytes(tmp_path):
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
