// The panels of the bus, wherever they stand: on the page of a bare bus, or below those of whoever runs on it.

import { events } from "./panels/events.js";
import { letters } from "./panels/letters.js";
import { subscriptions } from "./panels/subscriptions.js";
import { throughput } from "./panels/throughput.js";
import { topology } from "./panels/topology.js";
import { why } from "./panels/why.js";

export const VIEWS = ["bus", "subscriptions", "topology", "letters"];

export function mountBus(page) {
  const find = (name) => document.querySelector(`[data-panel="${name}"]`);
  throughput(page, find("throughput"));
  subscriptions(page, find("subscriptions"));
  topology(page, find("topology"), find("topology-legend"));
  letters(page, find("letters"), find("letters-total"));
  events(page, { body: find("events"), filter: find("filter"), waiting: find("waiting"), scopes: find("scopes") });
  why(page, find("why"), find("why-title"));
}
