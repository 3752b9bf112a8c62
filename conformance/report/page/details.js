// One verdict in full: in the panel at the side, and on the cards of the failures.
const panel = document.getElementById("panel");
let opener = null;

function command(text) {
  return make("div", { class: "command" }, make("code", null, text),
    make("button", { type: "button", "data-copy": true }, "Copy"));
}

function why(verdict) {
  const list = make("dl", { class: `why ${verdict.verdict}` });
  for (const [promise, reason] of Object.entries(verdict.broken))
    list.append(make("div", null, make("dt", { title: data.promises[promise] ?? null }, promise), make("dd", null, reason)));
  if (verdict.reason)
    list.append(make("div", null, make("dt", null, verdict.verdict === "unknown" ? "unknown" : "reason"), make("dd", null, verdict.reason)));
  return list.childElementCount ? list : null;
}

function badge(verdict) {
  return make("span", { class: `badge ${verdict.verdict}` }, WORDS[verdict.verdict]);
}

function facts(pairs) {
  const list = make("dl", { class: "facts" });
  for (const [name, value] of pairs)
    if (value) list.append(make("dt", null, name), make("dd", null, value));
  return list;
}

function happened(verdict) {
  if (verdict.timeline.length) return timeline(verdict.timeline);
  if (verdict.leftOut) return make("p", { class: "quiet" }, `Its timeline of ${verdict.leftOut} lines is in the log, left out here to keep the page small.`);
  return null;
}

function details(verdict) {
  const point = points[verdict.point];
  const others = verdict.mutant ? [] : verdictsAt(verdict.point, verdict.column).filter((each) => each !== verdict);
  const parts = [
    make("header", null, make("span", null, badge(verdict), verdict.mutant ? ` mutant ${verdict.mutant}` : ""),
      make("button", { type: "button", onclick: () => closePanel() }, "Close")),
    make("h2", { id: "panel-title" }, `${point.title} · ${columnName(verdict.column)}`),
    why(verdict),
    facts([
      ["scenario", make("code", null, verdict.scenario)], ["path", point.path], ["point", make("code", null, point.point)], 
      ["victim, fault", columnName(verdict.column)],
      ["fault here", verdict.fired ? "proven to have hit this instance at this point" : "not proven"],
      ["instance", make("code", null, verdict.instance)], ["batch", verdict.batch], ["took", `${verdict.seconds.toFixed(1)} s`],
    ]),
  ];
  if (!verdict.mutant) {
    const where = new URLSearchParams({ workflow: point.workflow, path: point.path });
    parts.push(make("a", { href: `#${where}`, "data-filter": true }, "Show its path in the matrix"));
  }
  if (verdict.repeat) parts.push(make("h3", null, "Run it again"), command(verdict.repeat));
  const shown = happened(verdict);
  if (shown) parts.push(make("h3", null, "Timeline, in seconds from the fault"), shown);
  else if (verdict.verdict === "pass") parts.push(make("p", { class: "quiet" }, "A timeline is kept only where something is wrong."));
  if (others.length) {
    const list = make("ul", null, ...others.map((each) => make("li", null, badge(each), " ",
      make("a", { href: link(each), "data-scenario": true }, `in batch ${each.batch}, instance ${each.instance}`))));
    parts.push(make("h3", null, `Judged ${others.length + 1} times`), list);
  }
  return parts.filter(Boolean);
}

function highlight() {
  for (const cell of document.querySelectorAll(".cell.current")) cell.classList.remove("current");
  const verdict = state.scenario && !state.mutant ? find(state.scenario, "", state.batch) : null;
  if (verdict) document.getElementById(`c${verdict.point}-${verdict.column}`)?.classList.add("current");
}

function showPanel() {
  highlight();
  if (!state.scenario) {
    if (panel.hidden) return;
    panel.hidden = true;
    if (opener?.isConnected) opener.focus();
    return;
  }
  const verdict = find(state.scenario, state.mutant, state.batch);
  panel.replaceChildren(...(verdict ? details(verdict) : [
    make("header", null, make("h2", { id: "panel-title" }, "Not in this report"), make("button", { type: "button", onclick: () => closePanel() }, "Close")),
    make("p", null, make("code", null, state.scenario)),
  ]));
  if (panel.hidden) opener = document.activeElement;
  panel.hidden = false;
  panel.scrollTop = 0;
  panel.focus({ preventScroll: true });
}

function closePanel() {
  location.hash = address({ scenario: "", mutant: "", batch: "" });
}

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    // A page from a file may not be let to the clipboard; then the text is ready for Ctrl+C.
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}
