// What is wrong, first: by promise, then scenario by scenario with its timeline.
const STEP = 10; // So many cards at once,
const OPEN = 1; // so many of them with their timelines open.

function card(verdict, open) {
  const point = points[verdict.point];
  const article = make("article", { class: `failure ${verdict.verdict}` },
    make("h3", null, badge(verdict), make("a", { href: link(verdict), "data-scenario": true }, point.title),
      make("span", { class: "badge" }, columnName(verdict.column)), make("span", { class: "quiet" }, point.path)),
    why(verdict), verdict.repeat ? command(verdict.repeat) : null);
  if (verdict.timeline.length || verdict.leftOut) {
    const more = make("details", { open, ontoggle: () => { if (more.open) more.fill(); } }, make("summary", null, `Timeline: ${verdict.timeline.length || verdict.leftOut} lines, in seconds from the fault`));
    more.fill = () => { if (more.childElementCount === 1) more.append(happened(verdict)); };
    if (open) more.fill();
    article.append(more);
  }
  return article;
}

function cards(verdicts, open) {
  const list = make("div");
  let shown = 0;
  const button = make("button", { type: "button", class: "more", onclick: () => more() });
  function more() {
    const next = verdicts.slice(shown, shown + STEP);
    button.before(...next.map((each, number) => card(each, shown + number < open)));
    shown += next.length;
    const left = verdicts.length - shown;
    button.hidden = left === 0;
    button.textContent = `Show ${Math.min(STEP, left)} more of ${left}`;
  }
  list.append(button);
  more();
  return list;
}

function sums(counts, colour, href) {
  const largest = Math.max(...counts.values());
  return make("div", { class: "sums-by" }, ...[...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => {
    const bar = make("i", { "aria-hidden": "true" });
    bar.style.width = `${(100 * count) / largest}%`;
    return make("a", { class: colour, href: href(name), "data-filter": true }, make("span", null, name, data.promises[name] ? make("small", null, data.promises[name]) : null), make("b", null, String(count)), bar);
  }));
}

function tally(verdicts, names) {
  const counts = new Map();
  for (const verdict of verdicts)
    for (const name of names(verdict)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

function drawFailures() {
  const failed = worst.filter((each) => each.verdict === "fail");
  const unknown = worst.filter((each) => each.verdict === "unknown");
  const place = document.getElementById("failure-list");
  if (!failed.length) place.append(make("p", { class: worst.length ? "good" : "quiet" }, worst.length ? `None: ${worst.length.toLocaleString("en")} scenarios judged and no promise broken.` : "No scenario of the target was judged."));
  else {
    place.append(make("p", { class: "lead" }, "The promises that broke, and in how many scenarios. Press one to see where in the matrix."),
      sums(tally(failed, (each) => Object.keys(each.broken)), "fail", (promise) => `#${new URLSearchParams({ promise, verdict: "fail" })}`),
      cards(failed, OPEN));
  }
  if (unknown.length) {
    const by = tally(unknown, (each) => [each.reason || (each.fired ? "no reason was given" : "the fault did not provably fire")]);
    place.append(make("details", { class: "unknowns", open: unknown.length <= STEP },
      make("summary", null, make("b", null, "Unknown"), " ", make("i", null, unknown.length.toLocaleString("en")), " ", make("span", { class: "quiet" }, "neither passed nor failed, by reason")),
      sums(by, "unknown", () => "#verdict=unknown"), cards(unknown, 0)));
  }
}

function drawExamples() {
  for (const place of document.querySelectorAll(".examples")) {
    const { examples } = mutants[Number(place.dataset.mutant)];
    if (!examples.length) continue;
    place.append(make("details", null, make("summary", null, `${examples.length} ${examples.length === 1 ? "scenario" : "scenarios"} with their timelines`),
      make("ul", null, ...examples.map((each) => make("li", null,
        make("a", { href: link(each), "data-scenario": true }, `${points[each.point].title} · ${columnName(each.column)}`),
        make("span", { class: "quiet" }, ` ${points[each.point].path} · ${Object.keys(each.broken).join(", ") || each.verdict}`))))));
  }
}
