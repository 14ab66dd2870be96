// Dead letters: what nobody could handle, with the reason, until somebody redrives it.

import { emptiness, h, keyed, say } from "../dom.js";
import { count } from "../format.js";

const WHY = "Only the process that owns the bus can redrive; this page follows its journal.";

export function letters(page, body, total) {
  const list = h("ul", { class: "letters" });
  body.append(list);
  const redrive = async (id, button) => {
    button.disabled = true;
    try {
      await page.call(`api/v1/dead-letters/${id}/redrive`, {});
      page.say("Redriven", "good");
    } catch (refused) {
      page.say(refused.message, "bad");
    }
    button.disabled = false;
  };
  const make = (letter) => {
    const button = h("button", {
      class: "button small",
      text: "Redrive",
      "data-over": "allowed", // the bus goes on after the run
      "aria-label": `Redrive dead letter ${letter.id} of ${letter.subscription}`,
      onclick: () => redrive(letter.id, button),
    });
    return h(
      "li",
      { class: "letter" },
      h(
        "button",
        { class: "plain letter-what", onclick: () => page.explain(letter.event_id) },
        h("span", { class: "letter-type", text: letter.type }),
        h("span", { class: "letter-where", text: letter.subscription }),
      ),
      h("p", { class: "letter-why", title: letter.error }),
      button,
    );
  };
  const fill = (node, letter) => {
    const tries = letter.attempts === 1 ? "1 attempt" : `${letter.attempts} attempts`;
    say(node.querySelector(".letter-why"), `${letter.reason} · ${first(letter.error)} · ${tries}`);
    const button = node.lastElementChild;
    page.permit(button, "redrive", WHY);
    if (letter.kept) Object.assign(button, { disabled: true, title: letter.kept });
  };
  page.store.on("letters", draw);
  page.store.on("status", () => page.store.view("letters") && draw(page.store.view("letters")));

  function draw(view) {
    emptiness(body, view.rows.length ? null : "Everything was handled: no dead letters.");
    say(total, view.total ? count(view.total) : "");
    keyed(list, view.rows, (letter) => letter.id, make, fill);
  }
}

const first = (error) => (error ?? "").split("\n", 1)[0];
