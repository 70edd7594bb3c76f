"""Files are written whole or not at all, and the errors name the file."""

from __future__ import annotations

import errno
import json
import os

import pytest

from onescene.io import atomic
from onescene.io.atomic import (
    atomic_folder,
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    remove_partials,
)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_file_takes_its_name_at_the_end(tmp_path):
    target = tmp_path / "scene one ü.tar.png"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"abc")
        assert temporary.parent == tmp_path and temporary.suffix == ".png"
        assert temporary.name.startswith(".") and ".partial" in temporary.name
        assert not target.exists()
    assert target.read_bytes() == b"abc" and names(tmp_path) == [target.name]


def test_a_long_name_still_fits(tmp_path):
    target = tmp_path / ("ü" * 120 + ".json")
    atomic_write_text(target, "x")
    assert target.read_text("utf-8") == "x"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3), OSError("odd")], ids=repr)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "run.json"
    target.write_text("old")
    with pytest.raises(type(error)) as caught, atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert caught.value is error
    assert target.read_text() == "old" and names(tmp_path) == ["run.json"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.bin"):
        pass
    assert names(tmp_path) == []


class FullDisk:
    """A file of which the disk, or the file system, takes five bytes."""

    def __init__(self, file, number):
        self.file, self.number = file, number

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(bytes(data)[:5])
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "the disk is full"), (errno.EFBIG, "the file would be larger than the system allows")],
)
def test_a_disk_that_fills_up(tmp_path, monkeypatch, number, sentence):
    target = tmp_path / "gaussians.ply"
    target.write_bytes(b"old")
    real = open
    monkeypatch.setattr(atomic, "open", lambda *a: FullDisk(real(*a), number), raising=False)
    with pytest.raises(OSError, match=rf"{sentence}: .*gaussians\.ply was not written") as caught:
        atomic_write_bytes(target, b"0123456789")
    assert caught.value.errno == number
    assert target.read_bytes() == b"old" and names(tmp_path) == ["gaussians.ply"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_end(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.EDQUOT, "quota")

    monkeypatch.setattr(atomic.os, step, full)
    with pytest.raises(OSError, match="the disk is full"):
        atomic_write_bytes(tmp_path / "a", b"1")
    assert names(tmp_path) == []


def test_the_bytes_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(atomic.os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    atomic_write_bytes(tmp_path / "a", b"1")
    assert calls[:2] == ["fsync", "replace"]


@pytest.mark.parametrize(
    ("place", "error", "sentence"),
    [
        ("missing/a.txt", FileNotFoundError, r"missing/a\.txt does not exist: make .*missing first"),
        ("file/a.txt", NotADirectoryError, "is a file, not a folder"),
        ("folder", IsADirectoryError, "it is a folder"),
    ],
)
def test_a_target_that_can_not_be(tmp_path, place, error, sentence):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=sentence):
        atomic_write_text(tmp_path / place, "x")
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    def refuse(name, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(name))

    monkeypatch.setattr(atomic, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match=r"a\.txt can not be written: permission denied") as caught:
        atomic_write_text(tmp_path / "a.txt", "x")
    assert ".partial" not in str(caught.value)


def test_an_error_about_another_file_is_not_renamed(tmp_path):
    with pytest.raises(PermissionError, match="other"), atomic_path(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "other")


def test_json_is_strict(tmp_path):
    path = atomic_write_json(tmp_path / "run.json", {"name": "größe", "values": [1, 2.5]})
    assert json.loads(path.read_text("utf-8")) == {"name": "größe", "values": [1, 2.5]}
    assert "größe" in path.read_text("utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic_write_json(tmp_path / "bad.json", {"loss": float("nan")})
    assert names(tmp_path) == ["run.json"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "01").mkdir()
    left = tmp_path / "01" / ".panorama-0123abcd.partial.png"
    left.write_bytes(b"half")
    kept = tmp_path / "01" / "panorama.partial.png"  # no leading dot: a user's own name
    kept.write_bytes(b"whole")
    assert remove_partials(tmp_path) == [left]
    assert kept.exists() and not left.exists()


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "größe 1"
    for content in ("first", "second"):
        with atomic_folder(target) as folder:
            assert not list(folder.iterdir()) and folder.parent == tmp_path
            (folder / content).write_text(content)
    assert [p.name for p in target.iterdir()] == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_folder_that_failed_leaves_the_old_one(tmp_path, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(error), atomic_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")
        raise error("stop")
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_a_folder_in_a_place_that_can_not_be(tmp_path):
    (tmp_path / "file").write_text("x")
    for place, error, sentence in [
        (tmp_path / "file", NotADirectoryError, "it is a file, not a folder"),
        (tmp_path / "file" / "x", NotADirectoryError, "is a file, not a folder"),
        (tmp_path / "none" / "x", FileNotFoundError, "make .* first"),
    ]:
        with pytest.raises(error, match=sentence), atomic_folder(place):
            pass


def test_folders_of_a_killed_process_are_removed(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("x")
        left = folder.with_name(".out-0badcafe.partial")
        folder.rename(left)
        folder.mkdir()
    assert remove_partials(tmp_path) == [left]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
