"""The command as a person runs it, on copies of the transfer target that are changed a little."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from launcher.settings import ROOT

TRANSFER = ROOT / "examples" / "transfer"
LIMIT = 120  # seconds for a command

# Takes its way in the dry runs and another one, declared as well, when it matters. The second path
# is the first one under another name: it has no point of its own.
FICKLE = """
[[workflows]]
name = "fickle"

[workflows.start]
url = "{sidecar}/v1.0/workflows/dapr/transfer/start?instanceID={id}"
headers = { dapr-api-token = "{api_token}" }
body = { amount = 500, from = "acc-fickle", to = "acc-2" }

[[workflows.paths]]
name = "done"
endings = [
    { outcome = "DONE", effects = ["bank_a.debit", "bank_b.credit"] },
    { outcome = "REFUSED" },
]

[[workflows.paths]]
name = "same"
endings = [
    { outcome = "DONE", effects = ["bank_a.debit", "bank_b.credit"] },
    { outcome = "REFUSED" },
]
"""
DEBIT = 'return post(f"{BANK_A}/debit", call["key"], call)'
FICKLE_DEBIT = f"""if call["account"] == "acc-fickle" and "-dry-" not in call["instance"]:
        call["account"] = "acc-poor"
    {DEBIT}"""
TOKEN = 'DAPR_API_TOKEN = "{api_token}"\n'


def copied(folder: Path, *changes: tuple[str, str], bugs: str = "", fickle: bool = False) -> Path:
    """A copy of the transfer target with these changes of its text; returns the file."""
    shutil.copytree(TRANSFER, folder, ignore=shutil.ignore_patterns("__pycache__", ".run"))
    if bugs:
        changes = (*changes, (TOKEN, f'{TOKEN}BUGS = "{bugs}"\n'))
    if fickle:
        change(folder / "app.py", DEBIT, FICKLE_DEBIT)
    for old, new in changes:
        change(folder / "target.toml", old, new)
    with (folder / "target.toml").open("a") as file:
        file.write(FICKLE if fickle else "")
    return folder / "target.toml"


def change(file: Path, old: str, new: str) -> None:
    """Replaces what occurs once in a file."""
    text = file.read_text("utf-8")
    assert text.count(old) == 1, f"{old!r} in {file}"
    file.write_text(text.replace(old, new), "utf-8")


def command(*arguments: str | Path) -> list[str]:
    """The command line of the suite."""
    return [sys.executable, "-m", "conformance", *map(str, arguments)]


def conformance(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the suite to its end."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT
    )
