// Why: the causal tree of the event that was chosen, from its first cause to its last effect.

import { emptiness, h, reveal } from "../dom.js";
import { gist, moment, seconds } from "../format.js";

export function why(page, body, title) {
  const tree = h("ol", { class: "tree", "aria-label": "Causes and effects, first cause first" });
  body.append(tree);
  emptiness(body, "Choose an event, a fill or a denial: what led to it is shown here, step by step.");
  let asked = 0;
  page.store.on("selected", async () => {
    const turn = ++asked;
    body.classList.add("is-loading");
    try {
      const found = await tell(page.selected);
      if (turn === asked) show(found);
    } catch (refused) {
      if (turn === asked) {
        tree.replaceChildren();
        emptiness(body, `It cannot be explained: ${refused.message}`);
      }
    } finally {
      if (turn === asked) body.classList.remove("is-loading");
    }
  });

  /** The tree of the event, or the whole story that it belongs to, where there is one. */
  async function tell(eventId) {
    const found = await page.call(`api/v1/events/${encodeURIComponent(eventId)}/explain`);
    const chosen = found.nodes.find((step) => step.event.event_id === eventId);
    const path = chosen && page.story(chosen.event);
    const whole = path && (await page.call(path).catch(() => null));
    return whole?.nodes.length ? whole : found;
  }

  function show(found) {
    const steps = found.nodes;
    emptiness(body, null);
    const chosen = steps.findIndex((step) => step.event.event_id === page.selected);
    title.textContent = chosen < 0 ? "" : `${chosen} before, ${steps.length - 1 - chosen} after`;
    const most = Math.max(...steps.map((step) => step.depth), 1);
    tree.replaceChildren(...steps.slice(0, 200).map((step) => row(step, most)));
    reveal(body, tree.querySelector(".is-chosen"));
    body.dispatchEvent(new CustomEvent("explained", { bubbles: true, detail: { eventId: page.selected } }));
  }

  function row({ depth, event, after_cause_s, handled }, most) {
    const told = page.describe(event);
    const isIt = event.event_id === page.selected;
    return h(
      "li",
      {
        class: `step is-${page.kindOf(event).toLowerCase()} ${isIt ? "is-chosen" : ""} ${told?.tone ? `tone-${told.tone}` : ""}`,
        vars: { "--depth": Math.min(depth, 10) * Math.min(1, 8 / most) },
        "data-event": event.event_id,
        ...(isIt ? { "aria-current": "true" } : {}),
      },
      h(
        "button",
        { class: "plain step-head", onclick: () => page.explain(event.event_id) },
        h("span", { class: "step-type", text: event.type }),
        h("span", { class: "step-time", text: after_cause_s ? `+${seconds(after_cause_s)}` : moment(event.timestamp) }),
      ),
      h("p", { class: "step-gist", text: told?.text ?? gist(event.payload) }),
      handled?.length
        ? h(
            "ul",
            { class: "hands" },
            ...handled.slice(0, 6).map((one) =>
              h("li", {
                class: one.status === "succeeded" ? "hand" : "hand is-bad",
                text: `${one.subscription}${one.ran_s == null ? "" : ` ${seconds(one.ran_s)}`}${one.status === "succeeded" ? "" : ` ${one.status}`}`,
              }),
            ),
          )
        : null,
    );
  }
}
