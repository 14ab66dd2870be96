"""The report as a page: one file without a request or an error, whose figures are those of an independent computation."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scipy

from quantum_trader.api import load_run
from quantum_trader.cli import main
from quantum_trader.runs.page.facts import facts
from quantum_trader.runs.page.page import page

WILD = """
from quantum_trader.api import Strategy, Target


class Wild(Strategy):
    share: float = 0.3
    note: str = "</script><b>bold"

    def on_bar(self, bars, ctx):
        if len(bars) < 10:
            return None
        if bars.close[-1] < bars.close[-10:].mean() * 0.97:
            return Target(weight=self.share, stop=0.93 * bars.close[-1], reason="fell </script> far")
        return Target(weight=0.0) if bars.close[-1] > bars.close[-10:].mean() else None
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    file = folder / "wild.py"
    file.write_text(WILD)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(file), "--to", "2000-12-31", "--symbols", "AAPL,IBM,MSFT", "--output", str(folder / "r")])
    assert ended.value.code == 0
    return folder / "r"


@pytest.fixture(scope="module")
def found(run: Path) -> dict[str, Any]:
    return facts(run)


def test_every_figure_equals_an_independent_computation(run: Path, found: dict[str, Any]) -> None:
    import pandas as pd

    loaded = load_run(run)
    equity, trades = loaded.equity, loaded.trades
    worth = pd.concat([pd.Series([1e6]), equity["equity"]], ignore_index=True)
    change = worth.pct_change().dropna()
    n = len(change)
    figures, report = found["figures"], found["report"]
    assert figures["cagr"] == pytest.approx((worth.iloc[-1] / 1e6) ** (252 / n) - 1)
    assert figures["volatility"] == pytest.approx(change.std() * math.sqrt(252))
    assert figures["sharpe"] == report["annual_sharpe"] == pytest.approx(change.mean() / change.std() * math.sqrt(252))
    downside = math.sqrt((change.clip(upper=0) ** 2).mean())
    assert figures["sortino"] == pytest.approx(change.mean() / downside * math.sqrt(252))
    fall = 1 - worth / worth.cummax()
    assert figures["drawdown"] == pytest.approx(fall.max())
    assert figures["calmar"] == pytest.approx(figures["cagr"] / fall.max())
    assert report["exposure"] == pytest.approx((equity["gross"] / equity["equity"]).mean())
    assert report["turnover"] == pytest.approx((trades["size"] * trades["price"]).sum() / 1e6)
    assert float(report["fees"]) == pytest.approx(trades["fee"].sum())
    ratio = change.mean() / change.std()
    spread = math.sqrt(
        1 - scipy.stats.skew(change) * ratio + (scipy.stats.kurtosis(change, fisher=False) - 1) / 4 * ratio**2
    )
    assert (
        figures["psr"]
        == figures["dsr"]
        == pytest.approx(scipy.stats.norm.cdf(ratio * math.sqrt(n - 1) / spread), abs=1e-3)
    )
    assert found["curve"]["equity"] == pytest.approx(equity["equity"].tolist(), abs=0.01)
    assert found["curve"]["drawdown"] == pytest.approx((-fall[1:]).tolist(), abs=1e-6)
    assert found["curve"]["exposure"] == pytest.approx((equity["gross"] / equity["equity"]).tolist(), abs=1e-4)


def test_trips_are_the_fills_from_flat_to_flat(run: Path, found: dict[str, Any]) -> None:
    import pandas as pd

    trades = load_run(run).trades
    trades["flow"] = trades["size"] * trades["price"] * trades["side"].map({"BUY": -1, "SELL": 1}) - trades["fee"]
    trades["units"] = trades["size"] * trades["side"].map({"BUY": 1, "SELL": -1})
    results = []
    for _, own in trades.groupby("symbol"):
        number = (own["units"].cumsum().shift(fill_value=0) == 0).cumsum()
        for _, trip in own.groupby(number):
            if trip["units"].sum() == 0:
                results.append(trip["flow"].sum())
    closed = [trip for trip in found["trips"] if trip["left"]]
    assert sorted(trip["result"] for trip in closed) == pytest.approx(sorted(results), abs=1e-3)
    figures = found["figures"]
    won = [result for result in results if result > 0]
    lost = [result for result in results if result < 0]
    assert figures["win_rate"] == pytest.approx(len(won) / len(results))
    assert figures["profit_factor"] == pytest.approx(sum(won) / -sum(lost))
    assert figures["expectancy"] == pytest.approx(sum(results) / len(results))
    deviation = pd.Series(results).std()
    assert figures["sqn"] == pytest.approx(math.sqrt(len(results)) * sum(results) / len(results) / deviation)
    assert {trip["why"]["reason"] for trip in closed} == {"fell </script> far"}
    assert any(trip["trigger"] == "STOP" for trip in closed)


def test_months_compound_to_the_whole(run: Path, found: dict[str, Any]) -> None:
    equity = load_run(run).equity.set_index("time")["equity"]
    monthly = equity.resample("ME").last()
    expected = monthly / monthly.shift(fill_value=1e6) - 1
    told = [value for row in found["months"] for value in row["months"] if value is not None]
    assert told == pytest.approx(expected.tolist())
    assert math.prod(1 + value for value in told) == pytest.approx(equity.iloc[-1] / 1e6)
    assert [row["total"] for row in found["months"]] == pytest.approx([equity.iloc[-1] / 1e6 - 1])


def test_the_page_stands_in_the_folder_and_is_one_file(run: Path) -> None:
    text = (run / "report.html").read_text()
    assert text == page(run)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)
    assert "fell </script> far" not in text
    data = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text)
    assert data is not None
    assert json.loads(data[1])["figures"] == facts(run)["figures"]
    assert "&lt;/script&gt;&lt;b&gt;bold" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1440, 900), pytest.param((390, 844), marks=pytest.mark.long)])
@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.long), "dark"])
def test_the_page_asks_for_nothing_and_complains_of_nothing(
    run: Path, found: dict[str, Any], browser: Any, size: tuple[int, int], scheme: str
) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(f"file://{run}/report.html")
    assert tab.locator(".plot canvas").count() == 4
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing sticks out"
    assert tab.locator(".big").inner_text() == f"{float(found['report']['equity']):,.0f}"
    assert tab.locator("#trade-table tr.trip").count() == len(found["trips"])
    results = tab.locator("#trade-table tr.trip").first.locator("td.num").last
    assert results.is_visible() or size[0] < 500
    assert tab.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('#trades .scroll'))")
    tab.locator("#filter").fill("ibm")
    ibm = [trip for trip in found["trips"] if trip["symbol"] == "IBM"]
    assert tab.locator("#trade-table tr.trip").count() == len(ibm) > 0
    tab.locator("#trade-table th[data-key=result]").click()
    first = tab.locator("#trade-table tr.trip").first
    assert first.inner_text().split()[0] == min(ibm, key=lambda trip: trip["result"])["entered"]
    first.click()
    assert "fell </script> far" in tab.locator("td.story").inner_text()
    worth = found["curve"]["equity"] + found["curve"]["benchmark"]
    assert tab.locator("#log").is_checked() is (max(worth) > 4 * min(worth)), "a scale on which all of it is seen"
    tab.locator("#log").check()
    tab.locator("#theme").click()
    tab.locator("#symbol-tabs button").last.click()
    assert tab.locator("#symbol-tabs button[aria-selected=true]").inner_text() == "MSFT"
    assert requests == [f"file://{run}/report.html"]
    assert complaints == []
    context.close()
