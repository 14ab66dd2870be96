// The dashboard of a bus.

import { VIEWS, mountBus } from "./bus.js";
import { say } from "./dom.js";
import { count, rate } from "./format.js";
import { Page } from "./page.js";
import { halt } from "./panels/halt.js";

const page = new Page();
const find = (name) => document.querySelector(`[data-panel="${name}"]`);
mountBus(page);
halt(page, find("halt"), find("halt-state"));
page.store.on("bus", (view) => {
  say(find("headline"), `${rate(view.per_s)} events/s`);
  say(find("subline"), `${count(view.published)} published, ${count(view.pending)} pending`);
});
page.store.on("status", () => say(find("version"), page.status.version ? `eventbus ${page.status.version}` : ""));
page.start(VIEWS);
