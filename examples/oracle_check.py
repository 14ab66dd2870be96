"""The accounting, through the whole bus path, against figures that independent engines agree on."""

from __future__ import annotations

from quantum_trader.cli.oracle import CASES, differences, run_case


def main() -> None:
    for case in CASES:
        system, report = run_case(case)
        found = list(differences(case, system, report))
        print(
            f"case {case.name}: {report.closed_trades} closed trades, fees {report.fees}, equity {report.equity},"
            f" drawdown {report.max_drawdown:.9f}: {'; '.join(found) or 'equal to the reference'}"
        )
        assert not found


if __name__ == "__main__":
    main()
