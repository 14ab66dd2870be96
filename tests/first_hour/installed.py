"""Install: both commands are there, say what they can do, and know their configuration."""

import subprocess
import sys


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


assert said("qt", "--version").split()[0] == "qt"
assert said("eventbus", "--version").split()[0] == "eventbus"
assert "dead-letters" in said("eventbus", "--help")
assert "ok" in said("qt", "config", "check")
loaded = said(sys.executable, "-c", "import sys, eventbus; print(*sys.modules)").split()
assert not {"numpy", "typer", "fastapi", "asyncpg"} & {*loaded}
print("installed")
