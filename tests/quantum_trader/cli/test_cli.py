"""The command line: what a user gets wrong is one line with a remedy and an exit code, never a traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from quantum_trader.cli import main

SHORT = ("--from", "2000-03-01", "--to", "2000-06-30", "--symbols", "IBM")


def qt(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


def test_replay_reports_in_json_and_writes_its_plot(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("replay", *SHORT, "--json", "--output", "out") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bars"] == report["sessions"] == 86
    assert len(report["digest"]) == 64
    assert (home / "out" / "equity.svg").read_text().startswith("<svg ")


def test_demo_prints_progress_report_and_the_path_of_the_plot(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("demo", *SHORT, "--metrics-port", "0", "--seed", "3") == 0
    out = capsys.readouterr().out
    for expected in ("metrics at http://127.0.0.1:", "session    86/86", "Buy and hold", "Digest", "equity.svg"):
        assert expected in out


def test_notices_are_printed_without_a_webhook(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QT_DISCORD_WEBHOOK", raising=False)
    assert qt("demo", *SHORT, "--notify", "--profile", "oracle") == 0
    assert "trend-20-50: BACKTEST to LIVE" in capsys.readouterr().out


def test_unknown_symbol_is_told_with_those_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("demo", "--symbols", "APPL") == 3
    assert "unknown symbol 'APPL'; known are AAPL, FB" in complaint(capsys)


def test_unknown_data_set_is_told_with_those_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("replay", "--data", "mine") == 3
    assert "no data set 'mine'; known are demo" in complaint(capsys)


def test_damaged_data_file_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = home / "mine.csv"
    csv.write_text("date,open,high,low,close,volume\n2020-01-01,1,2,1,2,10\n2020-01-02,2,3,2,3,10\n")
    assert qt("data", "import", "mine.csv", "--symbol", "XYZ", "--allow-jumps") == 0
    file = home / "data" / "mine.csv.gz"
    file.write_bytes(file.read_bytes()[:-8])
    capsys.readouterr()
    assert qt("data", "verify", "mine") == 3
    assert "mine.csv.gz: not a whole gzip file; restore the file" in complaint(capsys)


def test_imported_bars_can_be_replayed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    days = [f"2020-01-{day:02}" for day in range(1, 31)]
    rows = "".join(f"{day},10,11,9,10.5,100000\n" for day in days)
    (home / "mine.csv").write_text("date,open,high,low,close,volume\n" + rows)
    assert qt("data", "import", "mine.csv", "--symbol", "XYZ") == 0
    assert qt("data", "list") == 0
    assert qt("replay", "--data", "mine", "--json") == 0
    assert '"bars": 30' in capsys.readouterr().out


def test_bars_without_volume_limit_no_order_and_every_report_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [f"2020-01-{day:02}" for day in range(1, 31)]
    (home / "mine.csv").write_text("date,open,high,low,close\n" + "".join(f"{day},10,11,9,10.5\n" for day in days))
    assert qt("data", "import", "mine.csv", "--symbol", "XYZ") == 3
    assert "--no-volume" in complaint(capsys)
    assert qt("data", "import", "mine.csv", "--symbol", "XYZ", "--no-volume") == 0
    assert qt("replay", "--data", "mine") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "warning: no volume of XYZ is known: it limits no order" in shown
    assert "Without volume XYZ 30 bars: no order was limited by it" in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("date,open,high,low,close\n2020-01-01,1,2,1,2\n", "volume"),
        (
            "date,open,high,low,close,volume\n2020-01-02,1,2,1,2,1\n2020-01-03,1,2,1,2,1\n2020-01-01,1,2,1,2,1\n",
            "row 4",
        ),
        ("date,open,high,low,close,volume\n2020-01-01,1,0.5,1,2,1\n", "row 2"),
    ],
)
def test_bad_csv_names_file_and_place(home: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str) -> None:
    (home / "bad.csv").write_text(text)
    assert qt("data", "import", "bad.csv", "--symbol", "XYZ") == 3
    message = complaint(capsys)
    assert "bad.csv" in message
    assert expected in message
    assert not (home / "data").exists()


def test_bad_config_key_names_file_and_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config").mkdir()
    (home / "config" / "app.toml").write_text("sed = 3\n")
    assert qt("replay", *SHORT) == 2
    assert "config/app.toml: app.sed: unknown key; known are seed" in complaint(capsys)


def test_unknown_profile_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("demo", "--profile", "nope") == 2
    assert "profile nope: no such profile; known are demo" in complaint(capsys)


def test_bad_date_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("demo", "--from", "yesterday") == 2
    assert "'yesterday' is no date; write it as 2008-09-15" in complaint(capsys)


def test_empty_range_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("demo", "--from", "2020-01-01") == 3
    assert "choose within 2000-03-01 .. 2013-03-01" in complaint(capsys)


def test_busy_metrics_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert qt("demo", *SHORT, "--metrics-port", str(port)) == 2
    assert str(port) in complaint(capsys)


def test_output_that_cannot_be_written_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "file").write_text("")
    assert qt("replay", *SHORT, "--json", "--output", "file") == 2
    assert "choose another --output" in capsys.readouterr().err


def test_config_is_shown_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("config", "show", "--profile", "oracle") == 0
    assert json.loads(capsys.readouterr().out)["strategies"]["settle_bars"] == 1
    assert qt("config", "check") == 0
    assert ": ok, sha256 " in capsys.readouterr().out


def test_data_is_described_and_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("data", "describe") == 0
    assert "12,154 bars on 3,270 sessions" in capsys.readouterr().out
    assert qt("data", "verify") == 0
    assert "12,154 bars as promised" in capsys.readouterr().out


def test_recorded_run_is_reported_as_it_was(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("replay", *SHORT, "--json") == 0
    live = json.loads(capsys.readouterr().out)
    assert qt("report", "--json") == 0
    recorded = json.loads(capsys.readouterr().out)
    assert recorded == {key: value for key, value in live.items() if key != "plot"}
    assert qt("report", "--html", "page.html") == 0
    assert 'id="plot-equity"' in (home / "page.html").read_text()
    capsys.readouterr()
    assert qt("report") == 0
    assert live["digest"] in capsys.readouterr().out


def test_missing_or_damaged_record_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("report") == 3
    assert "no run is recorded there" in complaint(capsys)
    (home / "analytics.sqlite").write_text("not a database, but long enough to be looked at as one" * 20)
    assert qt("report", "analytics.sqlite") == 3
    assert "not a readable record" in complaint(capsys)


def test_bench_states_bars_per_second(capsys: pytest.CaptureFixture[str]) -> None:
    assert qt("bench", "--bars", "500") == 0
    assert "500 bars, " in capsys.readouterr().out
