// Run bar: where the run is, how fast, in which posture; pause, speed, and the kill switch, which is always in sight.

import { ask } from "../../dialog.js";
import { say } from "../../dom.js";
import { count } from "../../format.js";

const SPEEDS = [1, 2, 5, 10, 20, 40, 100, 250, 0]; // sessions a second; 0 is as fast as it goes
const ELSEWHERE = "Another process runs it; speed is set where it runs.";
const TONES = {
  AGGRESSIVE: "", NORMAL: "", DEFENSIVE: "is-warn",
  HEALTHY: "is-good", DEGRADED: "is-warn", CRITICAL: "is-bad",
};

export function runBar(page, find) {
  const [date, session, progress, pause, speed, told, mode, health, kill, halt] = [
    "date", "session", "progress", "pause", "speed", "speed-text", "mode", "health", "switch", "halt",
  ].map(find);
  let asked = null; // of the kill switch, until the run says so
  let isMoving = false;

  page.store.on("run", draw);
  page.store.on("status", () => page.store.view("run") && draw(page.store.view("run")));
  pause.addEventListener("click", () => set({ paused: !page.store.view("run")?.paused }));
  page.onKey(" ", () => pause.disabled || pause.click());
  speed.addEventListener("input", () => {
    isMoving = true;
    say(told, words(SPEEDS[speed.value]));
  });
  speed.addEventListener("change", () => set({ sessions_per_s: SPEEDS[speed.value] }));
  halt.addEventListener("click", () => (isStopped() ? release() : stop()));
  page.onKey("h", () => halt.disabled || halt.click());

  const isStopped = () => page.store.view("run")?.kill_switch.mode !== "OFF";

  async function set(change) {
    try {
      await page.call("api/v1/speed", change);
    } catch (refused) {
      page.say(refused.message, "bad");
    } finally {
      isMoving = false;
    }
  }

  function draw(run) {
    say(date, run.date ?? "Quantum Trader");
    const where = `session ${count(run.session)}${run.of ? ` of ${count(run.of)}` : ""}`; // what is live has no end
    say(session, { waiting: "waiting for the run", over: `over · ${where}` }[run.stage] ?? (run.paused ? `paused · ${where}` : where));
    document.documentElement.dataset.run = run.stage === "running" && run.paused ? "paused" : run.stage;
    document.title = `${run.date ?? "Quantum Trader"}${run.stage === "over" ? " · over" : ""}`;
    progress.style.setProperty("--done", String(run.of ? run.session / run.of : 0));
    progress.setAttribute("aria-valuenow", run.session);
    progress.setAttribute("aria-valuemax", run.of);
    pause.setAttribute("aria-label", run.paused ? "Resume" : "Pause");
    pause.classList.toggle("is-paused", run.paused);
    if (!isMoving && run.speed != null) {
      speed.value = nearest(run.speed);
      say(told, run.paused ? "paused" : words(run.speed));
    }
    if (run.speed == null) say(told, run.stage === "over" ? "" : "elsewhere");
    page.permit(pause, "pace", ELSEWHERE);
    page.permit(speed, "pace", ELSEWHERE);
    chip(mode, run.risk_mode, run.risk_mode, run.policy_reasons.join("; ") || "Risk mode");
    mode.dataset.mode = run.risk_mode ?? "";
    const unwell = Object.entries(run.unwell).map(([name, { reason }]) => `${name}: ${reason}`);
    chip(health, run.health, run.health, unwell.join("; ") || "Everybody is well");
    switched(run);
  }

  function switched({ kill_switch: now, stage }) {
    if (asked === now.mode) asked = null;
    const isOff = now.mode === "OFF";
    chip(
      kill,
      asked ? `${label(asked)} asked` : isOff ? "" : `${label(now.mode)} since ${now.since} by ${now.actor}`,
      null,
      isOff ? "Kill switch" : `${now.reason}${now.latched ? " (latched)" : ""}`,
    );
    kill.hidden = isOff && !asked;
    kill.className = `chip ${isOff && !asked ? "" : "is-bad"}`;
    document.documentElement.dataset.stopped = String(!isOff);
    say(halt, isOff ? "HALT" : "Release");
    halt.classList.toggle("solid", isOff);
    page.permit(halt, "killswitch", stage === "over" ? "The run is over." : "Commands are not taken here.");
  }

  function stop() {
    ask({
      title: "Stop trading?",
      text: "It takes effect before the next session, and holds until a person releases it. The reason is kept with the run.",
      fields: [
        { name: "mode", label: "What may still be done", options: [["halt", "Nothing: halt"], ["reduce_only", "Sell only: reduce positions"]] },
        { name: "reason", label: "Reason", placeholder: "Why, for everybody who looks" },
      ],
      action: "Stop trading",
      danger: true,
      act: command,
    });
  }

  function release() {
    const { kill_switch: now } = page.store.view("run");
    ask({
      title: "Release the kill switch?",
      text: `${label(now.mode)} since ${now.since} by ${now.actor}: ${now.reason}`,
      fields: [{ name: "reason", label: "Reason" }],
      action: "Release",
      act: ({ reason }) => command({ mode: "off", reason }),
    });
  }

  async function command({ mode: wanted, reason }) {
    await page.call("api/v1/killswitch", { mode: wanted, reason });
    asked = wanted.toUpperCase();
    page.say(`${label(asked)} asked for; it takes effect before the next session`, "good");
    page.store.touch("run");
  }
}

const label = (mode) => ({ HALT: "HALT", REDUCE_ONLY: "REDUCE ONLY", OFF: "Release" })[mode] ?? mode;
const words = (speed) => (speed ? `${speed}/s` : "max");

function nearest(speed) {
  if (!speed) return SPEEDS.length - 1;
  return SPEEDS.slice(0, -1).reduce((best, each, at) => (Math.abs(each - speed) < Math.abs(SPEEDS[best] - speed) ? at : best), 0);
}

function chip(node, text, tone, title) {
  say(node, text ?? "");
  node.hidden = !text;
  node.title = title;
  if (tone) node.className = `chip ${TONES[tone] ?? ""}`;
}
