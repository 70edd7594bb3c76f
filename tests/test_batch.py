"""Batch runs: keys are checked first, a failure stops nobody, results resume by content and make a table."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from onescene.cli import main
from onescene.pipeline.batch import plan_jobs
from onescene.pipeline.parameters import check_params, read_notebook
from onescene.pipeline.table import results_table

PARAMETERS = """size: int = 3  # a size [px]
word = "a"
share = 0.5
results = "results/00_tiny/dev"
"""
WORK = """import json, pathlib, time
if word == "break":
    raise RuntimeError("the word was break")
if word == "slow":
    time.sleep(4)
folder = pathlib.Path(results)
print(folder)
metrics = {"double": 2 * size, "list": [1, 2]}
checks = {"a": True, "b": size > 5}
(folder / "metrics.json").write_text(json.dumps({"metrics": metrics, "checks": checks}))
"""


def write_notebook(path: Path, *sources: str, tags: int = 1) -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(s, id=f"cell{k}") for k, s in enumerate(sources)]
    for cell in notebook.cells[:tags]:
        cell.metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def write_params(path: Path, **values) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with one tiny notebook; the working directory is inside it, in a path with a space."""
    root = tmp_path / "a project"
    write_notebook(root / "notebooks" / "00_tiny.ipynb", PARAMETERS, WORK)
    (root / "pyproject.toml").write_text("")
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    return root


# --- what is checked before anything runs ----------------------------------------------------------------------------


def test_parameters_are_read_without_running(tmp_path):
    path = write_notebook(
        tmp_path / "x.ipynb",
        PARAMETERS,
        "raise SystemExit",
        "%matplotlib inline\nfrom onescene.geometry import (\n    cubemap,\n)",
        "%%bash\nls -l | (head",
    )
    notebook = read_notebook(path)
    assert notebook.defaults == {"size": 3, "word": "a", "share": 0.5, "results": "results/00_tiny/dev"}
    assert notebook.modules == ("onescene.geometry", "onescene.geometry.cubemap")


@pytest.mark.parametrize(
    ("sources", "tags", "words"),
    [
        (["x = 1"], 0, "exactly one cell tagged 'parameters', got 0"),
        (["x = 1", "y = 1"], 2, "exactly one cell tagged 'parameters', got 2"),
        (["x = 1 + y"], 1, "the parameter x must be a literal"),
        (["import os"], 1, "line 1 of the parameters cell must assign a literal"),
        (["x = 1\ny = ("], 1, "x.ipynb: line 2 of the parameters cell is no Python"),
    ],
)
def test_a_notebook_without_plain_parameters_is_refused(tmp_path, sources, tags, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        read_notebook(write_notebook(tmp_path / "x.ipynb", *sources, tags=tags))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"siez": 3}, "a.yaml: unknown key 'siez'; did you mean size?"),
        ({"zzz": 3}, "a.yaml: unknown key 'zzz'; known keys: size, share, flag, names"),
        ({"size": "3"}, "a.yaml: size must be of type int (such as 3), got str '3'"),
        ({"size": 3.5}, "a.yaml: size must be of type int"),
        ({"flag": 1}, "a.yaml: flag must be of type bool"),
        ({"size": True}, "a.yaml: size must be of type int"),
        ({"size": None}, "a.yaml: size must be of type int (such as 3), got NoneType None"),
    ],
)
def test_a_wrong_key_or_type_is_named(params, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        check_params(params, {"size": 3, "share": 0.5, "flag": False, "names": ["a"]}, "a.yaml")


def test_right_params_lie_over_the_defaults():
    defaults = {"size": 3, "share": 0.5, "nothing": None}
    assert check_params({"share": 1, "nothing": 5}, defaults, "a.yaml") == {"size": 3, "share": 1, "nothing": 5}


def test_names_of_runs(project):
    for path in ("params/small/00_tiny.yaml", "params/sweep/big.yaml", "params/paper/00_tiny.yaml"):
        write_params(project / path, size=5)
    jobs = plan_jobs(["params/small", "params/paper/00_tiny.yaml"], None, None)
    assert [j.label for j in jobs] == ["00_tiny/small", "00_tiny/paper"]
    assert jobs[0].folder == project / "results" / "00_tiny" / "small"
    assert plan_jobs(["params/sweep/big.yaml"], "00", None)[0].label == "00_tiny/big"
    with pytest.raises(ValueError, match="two params files would write 00_tiny/small"):
        plan_jobs(["params/small", "params/small/00_tiny.yaml"], None, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["params/none.yaml"], "params file not found: params/none.yaml"),
        (["params/typo.yaml", "--notebook", "00"], "typo.yaml: unknown key 'siez'; did you mean size?"),
        (["params/list.yaml", "--notebook", "00"], "params file must hold `key: value` lines"),
        (["params/broken.yaml", "--notebook", "00"], "params file is not YAML"),
        (["params/ok.yaml"], "no notebook is called 'ok' (for ok.yaml); there are: 00_tiny"),
        (["params/ok.yaml", "--notebook", "no.ipynb"], "notebook not found"),
        (["params/ok.yaml", "--notebook", "00", "--workers", "0"], "--workers must be >= 1, got 0"),
        (["params/ok.yaml", "--notebook", "00", "--scheduler", "tcp://127.0.0.1:9"], "no dask scheduler answers"),
        (["params/ok.yaml", "--notebook", "00", "--scheduler", "nowhere:x"], "must be an address such as tcp://HOST"),
        (["params/ok.yaml", "--notebook", "00", "--scheduler", ""], "must be an address such as tcp://HOST"),
        (["params"], "no params file in params is named after a notebook"),
        ([], "Missing argument"),
    ],
)
def test_a_mistake_is_one_sentence_and_runs_nothing(project, capsys, arguments, words):
    write_params(project / "params" / "ok.yaml", size=1)
    write_params(project / "params" / "typo.yaml", siez=1)
    (project / "params" / "list.yaml").write_text("- 1\n")
    (project / "params" / "broken.yaml").write_text("a: [1\n")
    if "--scheduler" in arguments:
        pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    assert main(["batch", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and "Traceback" not in error
    assert not (project / "results").exists()


# --- running ---------------------------------------------------------------------------------------------------------


def test_a_failed_run_stops_nobody_and_what_is_valid_is_skipped(project, capsys):
    sweep = project / "params" / "sweep"
    for name, values in {"a": {"size": 1}, "bad": {"word": "break"}, "ü b": {"size": 7}}.items():
        write_params(sweep / f"{name}.yaml", **values)
    files = [str(p) for p in sorted(sweep.glob("*.yaml"))]
    assert main(["batch", *files, "--notebook", "00", "--workers", "2"]) == 1
    shown = capsys.readouterr()
    assert "00_tiny/bad: failed" in shown.err and "In [3]: RuntimeError: the word was break" in shown.err
    assert "1 of 3 runs failed: 00_tiny/bad" in shown.err
    done = project / "results" / "00_tiny"
    assert sorted(p.name for p in (done / "a").iterdir()) == [
        ".onescene",
        "metrics.json",
        "notebook.ipynb",
        "params.yaml",
    ]
    assert [p.name for p in (done / "bad").iterdir()] == ["failed.ipynb"]
    assert json.loads((done / "ü b" / "metrics.json").read_text())["metrics"]["double"] == 14
    params = yaml.safe_load((done / "a" / "params.yaml").read_text())
    assert params == {"size": 1, "word": "a", "share": 0.5, "results": "results/00_tiny/a"}
    text = (done / "a" / "notebook.ipynb").read_text()
    assert str(project) not in text and "partial" not in text
    assert "results/00_tiny/a" in "".join(nbformat.reads(text, 4).cells[-1].outputs[0].text)

    table = pd.read_csv(done / "table.csv", index_col="run")
    assert table.loc["ü b", "double"] == 14 and table.loc["a", "size"] == 1
    assert table.loc["a", "checks"] == "1 of 2" and table.loc["ü b", "checks"] == "2 of 2"
    assert "list" not in table and "share" not in table

    write_params(sweep / "bad.yaml", word="mended")
    (done / "ü b" / "metrics.json").unlink()
    assert main(["batch", *files, "--notebook", "00", "--workers", "3"]) == 0
    states = dict(re.findall(r"00_tiny/(.+): (\w+) \(", capsys.readouterr().err))
    assert states == {"a": "skipped", "bad": "done", "ü b": "done"}
    assert not (done / "bad" / "failed.ipynb").exists()


def test_a_notebook_that_writes_no_metrics_has_failed(project, capsys):
    write_notebook(project / "notebooks" / "01_mute.ipynb", 'results = "x"', "pass")
    write_params(project / "params" / "small" / "01_mute.yaml")
    assert main(["batch", "params/small"]) == 1
    assert (
        "01_mute.ipynb wrote no metrics.json into the folder that its parameter `results` names"
        in capsys.readouterr().err
    )


def test_a_table_of_nothing_is_empty(tmp_path):
    assert results_table(tmp_path).empty


def test_a_damaged_run_is_left_out_of_the_table(tmp_path, caplog):
    for name, metrics in {"good": '{"metrics": {"psnr_db": 30}}', "cut": '{"metrics": {', "list": "[1]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(metrics)
        (tmp_path / name / "params.yaml").write_text("size: 3\n")
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "metrics.json").write_text('{"metrics": {"psnr_db": 20}}')
    table = results_table(tmp_path)
    assert table.index.tolist() == ["good"] and table.psnr_db.tolist() == [30]
    for name in ("cut", "list", "lost"):
        assert f"{tmp_path / name} is left out of the table: it is damaged" in caplog.text


# --- a cluster -------------------------------------------------------------------------------------------------------


def start(arguments: list[str], logs: Path) -> subprocess.Popen:
    with open(logs, "w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]], stderr=log, stdout=log
        )


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, processes of their own, each with one GPU as a resource."""
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    file = tmp_path / "scheduler.json"
    options = ["--scheduler-file", str(file)]
    processes = [
        start(["dask_scheduler", *options, "--port", "0", "--host", "127.0.0.1", "--no-dashboard"], tmp_path / "s")
    ]
    for name in ("one", "two"):
        arguments = ["dask_worker", *options, "--no-nanny", "--nthreads", "1", "--name", name, "--resources", "GPU=1"]
        processes.append(
            start([*arguments, "--no-dashboard", "--local-directory", str(tmp_path / name)], tmp_path / f"w-{name}")
        )
    try:
        for _ in range(300):
            if file.exists() and file.read_text().strip().endswith("}"):
                break
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], processes
    finally:
        for process in processes:
            process.kill()
            process.wait(30)


def test_a_cluster_loses_a_worker_and_finishes(project, cluster, tmp_path):
    address, (_, first, second) = cluster
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        for k in range(4):
            write_params(project / "params" / "sweep" / f"{k}.yaml", size=k, word="slow" if k < 2 else "a")
        files = [str(project / "params" / "sweep" / f"{k}.yaml") for k in range(4)]
        command = [sys.executable, "-m", "onescene", "batch", *files, "--notebook", "00", "--scheduler", address]
        batch = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        deadline = time.monotonic() + 60
        partial = "results/00_tiny/*/.onescene/partial-run"
        while time.monotonic() < deadline and len(list(project.glob(partial))) < 2:
            time.sleep(0.1)
        assert len(list(project.glob(partial))) == 2  # each worker has one GPU, and so one run
        first.kill()
        _, error = batch.communicate(timeout=120)
    assert batch.returncode == 0, error + (tmp_path / "w-two").read_text()
    assert second.poll() is None
    assert len(results_table(project / "results" / "00_tiny")) == 4
    assert error.count(": done") == 4


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_during_a_batch_keeps_what_is_finished(project):
    write_params(project / "params" / "small" / "a.yaml", size=1)
    write_params(project / "params" / "small" / "b.yaml", word="slow")
    batch = [sys.executable, "-m", "onescene", "batch", "params/small/a.yaml", "params/small/b.yaml"]
    process = subprocess.Popen(
        [*batch, "--notebook", "00"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ONESCENE_TYPECHECK": ""},
        # a test suite in the background hands down an ignored SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = process.stderr.readline()
    assert "00_tiny/a: done" in said
    slow = project / "results" / "00_tiny" / "b"
    while not list(slow.glob(".*/partial-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said += process.stderr.read()
    assert process.wait(60) == 130, said
    assert "interrupted" in said and "Traceback" not in said
    assert (project / "results" / "00_tiny" / "a" / "metrics.json").is_file()
    assert not (slow / "metrics.json").exists() and not list(slow.rglob("partial-*"))
