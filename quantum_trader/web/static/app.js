// The dashboard of a run: the panels of trading above those of the bus that it runs on.

import { VIEWS, mountBus } from "../bus.js";
import { h } from "../dom.js";
import { Page } from "../page.js";
import { describe } from "./describe.js";
import { book } from "./panels/book.js";
import { charts } from "./panels/charts.js";
import { denials } from "./panels/denials.js";
import { equity } from "./panels/equity.js";
import { roster } from "./panels/roster.js";
import { runBar } from "./panels/runbar.js";

// What a person wants to see go by; a bar and a heartbeat of every symbol and session are noise.
const NOTABLE = [
  "trade.*", "order.*", "killswitch.*", "policy.*", "strategy.*", "model.*", "health.*", "command.*", "run.*", "feed.*",
  "spc.violation_*", "spc.limits_updated", "spc.alert_*", "evaluation.failed", "notification.*",
].join(" ");
const SCOPES = [
  ["Notable", NOTABLE],
  ["Orders and fills", "order.* orders.* trade.*"],
  ["Control", "policy.* killswitch.* health.* command.* strategy.* model.*"],
  ["Charts", "spc.*"],
  ["Everything", "*"],
];

// A fill is caused by the bar that it filled on; why anybody wanted it is the story of its order.
const story = ({ payload }) => (payload?.order_id ? `api/v1/orders/${encodeURIComponent(payload.order_id)}` : null);

const page = new Page({ describe, story, topics: NOTABLE.split(" ") });
const find = (name) => document.querySelector(`[data-panel="${name}"]`);
find("scopes").append(...SCOPES.map(([text, value]) => h("option", { text, value })));
mountBus(page);
runBar(page, find);
equity(page, find("equity"), find("equity-figures"));
charts(page, find("charts"), find("charts-open"));
roster(page, find);
book(page, find);
denials(page, find("denials"), find("denials-note"));
page.start([
  "run", "equity", "charts", "strategies", "models", "opportunities", "positions", "orders", "denials", ...VIEWS,
]);
