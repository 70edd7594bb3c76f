"""Steps resume by content, folders are locked, and a failure leaves nothing half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onescene.pipeline import digests
from onescene.pipeline.digests import digest_of_code, digest_of_file
from onescene.pipeline.step import Step, StepContext, is_up_to_date, read_record, run_step
from onescene.pipeline.workspace import STATE, FolderBusyError, open_workspace


def letters(context: StepContext) -> dict:
    """A step's work: the input's text, upper case, in one file per letter."""
    text = context.inputs["text"].read_text()
    for k, letter in enumerate(text.strip()):
        (context.folder / f"{k:03d}.txt").write_text(letter.upper())
    return {"count": len(text)}


@pytest.fixture
def step(tmp_path) -> Step:
    (tmp_path / "in.txt").write_text("abc")
    (tmp_path / "weights.bin").write_bytes(b"1")
    return Step(
        name="01_letters",
        folder="01_letters",
        make=letters,
        inputs={"text": tmp_path / "in.txt"},
        parameters={"size": 3, "names": ("a", "b")},
        weights=(tmp_path / "weights.bin",),
        code=("onescene.types",),
    )


@pytest.fixture
def out(tmp_path) -> Path:
    with open_workspace(tmp_path / "out") as folder:
        yield folder


def changed(step: Step, **values) -> Step:
    return Step(**{**{name: getattr(step, name) for name in step.__dataclass_fields__}, **values})


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# --- resume by content -----------------------------------------------------------------------------------------------


def test_a_step_is_up_to_date_after_it_ran_and_only_then(step, out):
    assert not is_up_to_date(step, out)
    record = run_step(step, out)
    assert is_up_to_date(step, out)
    assert names(out / "01_letters") == ["000.txt", "001.txt", "002.txt"]
    assert record == read_record(out, "01_letters")
    assert record.outputs["01_letters/000.txt"] == digest_of_file(out / "01_letters" / "000.txt")
    assert record.facts == {"count": 3}
    assert 0 <= record.seconds < 60 and record.peak_memory_mb > 10


def test_another_parameter_input_weight_or_code_makes_it_stale(step, out, tmp_path, monkeypatch):
    run_step(step, out)
    assert not is_up_to_date(changed(step, parameters={"size": 4, "names": ("a", "b")}), out)
    assert not is_up_to_date(changed(step, code=("onescene.geometry.cubemap",)), out)
    (tmp_path / "weights.bin").write_bytes(b"2")
    assert not is_up_to_date(step, out)
    (tmp_path / "weights.bin").write_bytes(b"1")
    assert is_up_to_date(step, out)
    (tmp_path / "in.txt").write_text("abd")
    assert not is_up_to_date(step, out)


def test_a_file_touched_but_not_changed_stays_valid(step, out, tmp_path):
    run_step(step, out)
    os.utime(tmp_path / "in.txt", (1, 1))
    assert is_up_to_date(step, out)


@pytest.mark.parametrize("damage", ["delete", "corrupt", "truncate", "record"])
def test_a_damaged_result_is_made_again(step, out, damage):
    run_step(step, out)
    victim = out / "01_letters" / "001.txt"
    if damage == "delete":
        victim.unlink()
    elif damage == "corrupt":
        victim.write_text("X")
    elif damage == "truncate":
        victim.write_text("")
    else:
        (out / STATE / "01_letters.json").write_text('{"name": "01_let')
    assert not is_up_to_date(step, out)
    run_step(step, out)
    assert victim.read_text() == "B"


def test_files_of_a_longer_run_go_and_the_users_own_stay(step, out, tmp_path):
    run_step(step, out)
    (out / "01_letters" / "notes.txt").write_text("mine")
    (out / "01_letters" / "002.txt").write_text("mine now")
    (tmp_path / "in.txt").write_text("a")
    run_step(step, out)
    assert names(out / "01_letters") == ["000.txt", "002.txt", "notes.txt"]
    assert (out / "01_letters" / "002.txt").read_text() == "mine now"


def test_what_someone_changed_is_kept_before_it_is_made_again(step, out, caplog):
    (out / "01_letters").mkdir(parents=True)
    (out / "01_letters" / "000.txt").write_text("there before any run")
    (out / "01_letters" / "002.txt").write_text("C")  # what the run writes, too
    run_step(step, out)
    kept = out / STATE / "replaced" / "01_letters"
    assert names(kept) == ["000.txt"] and (kept / "000.txt").read_text() == "there before any run"
    for text in ("painted", "painted twice"):
        (out / "01_letters" / "000.txt").write_text(text)
        caplog.clear()
        run_step(step, out)
        assert "01_letters/000.txt is not as a run wrote it" in caplog.text
    assert {p.name: p.read_text() for p in kept.iterdir()} == {
        "000.txt": "there before any run",
        "000-1.txt": "painted",
        "000-2.txt": "painted twice",
    }
    caplog.clear()
    run_step(changed(step, parameters={"other": 1}), out)
    assert not caplog.text and len(names(kept)) == 3


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), OSError(errno.EIO, "io")])
def test_a_failure_in_the_middle_leaves_the_old_result(step, out, tmp_path, error):
    run_step(step, out)

    def fails(context):
        (context.folder / "000.txt").write_text("half")
        raise error

    (tmp_path / "in.txt").write_text("xyz")
    with pytest.raises(type(error)):
        run_step(changed(step, make=fails), out)
    assert (out / "01_letters" / "000.txt").read_text() == "A"
    assert not list((out / STATE).glob("partial-*"))
    (tmp_path / "in.txt").write_text("abc")
    assert is_up_to_date(step, out)


@pytest.mark.parametrize("then", ["xyz", "uv"])  # what was being made, and another thing: none of it is anybody's
def test_stopped_between_two_renames_counts_as_nothing(then, step, out, tmp_path, monkeypatch):
    run_step(step, out)
    (tmp_path / "in.txt").write_text("xyz")
    renames = []

    def replace(source, target, real=os.replace):
        renames.append(target)
        if str(target).endswith("001.txt"):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        run_step(step, out)
    monkeypatch.undo()
    assert [(out / "01_letters" / f"00{k}.txt").read_text() for k in range(3)] == ["X", "B", "C"]
    for text in ("abc", "xyz"):
        (tmp_path / "in.txt").write_text(text)
        assert not is_up_to_date(step, out)
    (tmp_path / "in.txt").write_text(then)
    run_step(step, out)
    assert [p.read_text() for p in sorted((out / "01_letters").iterdir())] == list(then.upper())
    assert not (out / STATE / "replaced").exists()


def test_a_full_disk_is_one_sentence(step, out):
    def fills(context):
        raise RuntimeError("encoder: broken pipe") from OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"the disk is full: 01_letters was not written") as caught:
        run_step(changed(step, make=fills), out)
    assert caught.value.errno == errno.ENOSPC
    assert not (out / "01_letters").exists()


def test_a_missing_input_and_a_file_in_the_way_are_named(step, out, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"01_letters needs .*none\.txt"):
        run_step(changed(step, inputs={"text": tmp_path / "none.txt"}), out)
    (out / "01_letters").write_text("a file")
    with pytest.raises(NotADirectoryError, match="01_letters is a file"):
        run_step(step, out)
    (out / "01_letters").unlink()
    (out / "01_letters" / "001.txt").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"001\.txt is a folder"):
        run_step(step, out)
    assert list((out / "01_letters").iterdir()) == [out / "01_letters" / "001.txt"]


# --- the folder ------------------------------------------------------------------------------------------------------


HOLD = """
import sys
from onescene.pipeline.workspace import open_workspace
with open_workspace(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_two_runs_into_one_folder(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(FolderBusyError, match=rf"another run is writing into .*out \(process {other.pid}\)"):
            with open_workspace(tmp_path / "out"):
                pass
        other.kill()  # no chance to tidy up: the lock goes all the same
        other.wait(30)
    with open_workspace(tmp_path / "out") as folder:
        assert folder.is_dir()


def test_folders_made_for_nothing_are_removed(tmp_path):
    with pytest.raises(ValueError), open_workspace(tmp_path / "a" / "b c" / "ä"):
        raise ValueError
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    with open_workspace(tmp_path / "mine"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_that_another_run_makes_or_takes_away_meanwhile(tmp_path, monkeypatch):
    """Two runs of a batch share their parent folder: neither stumbles over what the other does to it."""
    shared, mkdir, others = tmp_path / "shared", Path.mkdir, []

    def interfering(path, *args, **kwargs):
        if path == shared and not others:
            others.append("made")
            mkdir(path)
        elif path == shared / "mine" and others == ["made"]:
            others.append("taken away")
            shared.rmdir()
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", interfering)
    with open_workspace(shared / "mine") as folder:
        (folder / "kept.txt").write_text("here")
    assert others == ["made", "taken away"] and (shared / "mine" / "kept.txt").is_file()


def test_what_a_killed_run_left_is_swept(step, tmp_path):
    with open_workspace(tmp_path / "out") as out:
        run_step(step, out)
    left = tmp_path / "out" / STATE / "partial-02_x"
    left.mkdir()
    (left / "half.png").write_bytes(b"half")
    with open_workspace(tmp_path / "out"):
        assert not left.exists()


def test_out_that_is_a_file_or_below_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match="--out must be a folder"), open_workspace(out):
            pass


def test_out_that_cannot_be_written_is_refused():
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a folder that not even root can write: /proc")
    with pytest.raises(PermissionError, match="--out cannot be written"), open_workspace("/proc/self/onescene"):
        pass


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_the_code_of_a_module_is_that_of_all_it_imports(tmp_path, monkeypatch):
    package = tmp_path / "onescene"
    for name, text in {
        "__init__": "",
        "a/__init__": "",
        "a/one": "def f():\n    from ..b import two\n",
        "b/__init__": "from onescene.c import thing\n",
        "b/two": "x = 1\n",
        "c": "thing = 1\n",
        "d": "unrelated = 1\n",
    }.items():
        (package / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(digests, "PACKAGE", package)
    digests._imports_of.cache_clear()
    before = digest_of_code(["onescene.a.one"])
    (package / "d.py").write_text("unrelated = 2\n")
    assert digest_of_code(["onescene.a.one"]) == before
    for name in ("c", "b/two", "a/one", "__init__"):
        path = package / f"{name}.py"
        path.write_text(path.read_text() + "# changed\n")
        after = digest_of_code(["onescene.a.one"])
        assert after != before, name
        before = after
    (package / "a" / "assets").mkdir()
    (package / "a" / "assets" / "page.js").write_text("let x\n")
    assert digest_of_code(["onescene.a.one"]) != before
    digests._imports_of.cache_clear()


def test_a_file_hash_follows_the_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert digest_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abcd")
    assert digest_of_file(path) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
