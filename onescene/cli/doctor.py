"""``onescene doctor``: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(doctor)


def doctor() -> int:
    """Say what is there, what is missing and what to do. Changes nothing; always exits with 0."""
    from onescene.pipeline.health import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        typer.echo(f"{finding.state:8} {finding.name:12} {finding.text}")
        if finding.advice:
            typer.echo(f"{'':8} {'':12} -> {finding.advice}")
    wrong = [f.name for f in findings if f.state == "wrong"]
    typer.echo(f"\nto mend: {', '.join(wrong)}" if wrong else "\nready: `onescene run PHOTO --out DIR`")
    return 0
