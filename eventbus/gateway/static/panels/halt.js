// Halt of a bare bus: events of kind EXECUTION are refused until somebody rearms it with the token of the halt.

import { ask } from "../dialog.js";
import { say } from "../dom.js";

const WHY = "Only the process that owns the bus can halt it.";

export function halt(page, button, state) {
  let token = null;
  button.addEventListener("click", () => (page.status.halted ? rearm() : stop()));
  page.onKey("h", () => button.disabled || button.click());
  page.store.on("status", draw);
  page.store.on("bus", (view) => {
    if (view.halted === undefined || view.halted === page.status.halted) return;
    page.status = { ...page.status, halted: view.halted, reason: view.reason };
    draw();
  });

  function draw() {
    const { halted, reason } = page.status;
    say(button, halted ? "Rearm" : "HALT");
    button.classList.toggle("danger", !halted);
    say(state, halted ? `halted: ${reason ?? "no reason was kept"}` : "");
    page.permit(button, "halt", WHY);
  }

  function stop() {
    ask({
      title: "Halt this bus?",
      text: "Events that execute something are refused until it is rearmed. Everything else goes on.",
      fields: [{ name: "reason", label: "Reason", placeholder: "It is shown to everybody" }],
      action: "Halt",
      danger: true,
      act: async ({ reason }) => {
        const answer = await page.call("api/v1/halt", { reason });
        token = answer.token;
        page.status = { ...page.status, halted: true, reason: answer.reason };
        page.store.touch("status");
      },
    });
  }

  function rearm() {
    ask({
      title: "Rearm this bus?",
      text: "Events that execute something are taken again.",
      fields: [
        { name: "token", label: "Token of the halt", value: token ?? "" },
        { name: "reason", label: "Reason" },
      ],
      action: "Rearm",
      act: async (values) => {
        await page.call("api/v1/rearm", values);
        page.status = { ...page.status, halted: false, reason: null };
        page.store.touch("status");
      },
    });
  }
}
