// What is asked and what is told: a dialog that wants a reason, the form for a token, and short notices.

import { h } from "./dom.js";

/** Ask before something is done. `act(values)` may raise: what it says is shown, and the dialog stays. */
export function ask({ title, text, fields, action, danger = false, act }) {
  const error = h("p", { class: "dialog-error", role: "alert", hidden: true });
  const inputs = new Map();
  const rows = fields.map((field) => {
    const input = field.options
      ? h("select", { name: field.name }, ...field.options.map(([value, label]) => h("option", { value, text: label })))
      : h("input", {
          name: field.name,
          type: field.type ?? "text",
          value: field.value ?? "",
          placeholder: field.placeholder ?? "",
          maxlength: 500,
          required: field.required !== false,
          autocomplete: "off",
        });
    inputs.set(field.name, input);
    return h("label", { class: "field" }, h("span", { text: field.label }), input);
  });
  const go = h("button", { type: "submit", class: danger ? "button danger solid" : "button primary", text: action });
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { text: title }),
    text && h("p", { class: "dialog-text", text }),
    ...rows,
    error,
    h(
      "div",
      { class: "dialog-actions" },
      h("button", { type: "button", class: "button", text: "Cancel", onclick: () => dialog.close() }),
      go,
    ),
  );
  const dialog = h("dialog", { class: danger ? "dialog is-danger" : "dialog", "aria-label": title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    error.hidden = true;
    try {
      await act(Object.fromEntries([...inputs].map(([name, input]) => [name, input.value.trim()])));
      dialog.close();
    } catch (refused) {
      error.textContent = refused.message;
      error.hidden = false;
    } finally {
      go.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  [...inputs.values()].find((input) => !input.value)?.focus();
  return dialog;
}

/** A short notice at the edge of the page; gone by itself, and read out. */
export function tell(text, kind = "info") {
  let shelf = document.querySelector(".notices");
  if (!shelf) document.body.append((shelf = h("div", { class: "notices", role: "status" })));
  const notice = h("p", { class: `notice is-${kind}`, text });
  shelf.append(notice);
  setTimeout(() => notice.remove(), kind === "bad" ? 9_000 : 5_000);
}
