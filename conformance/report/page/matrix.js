// Workflows, paths and points against victims and faults. Only what is open is in the document.
const AUTO = 250; // So many rows are opened without being asked for.
const grid = document.getElementById("grid");
const open = new Set();
let chosen = new Map(); // What the filters let through: workflow, its paths, their rows.

function choose() {
  const text = state.text.trim().toLowerCase();
  chosen = new Map();
  let [shownRows, shownCells] = [0, 0];
  for (const workflow of workflows) {
    if (state.workflow && workflow.name !== state.workflow) continue;
    const paths = new Map();
    for (const path of workflow.paths) {
      if (state.path && path.name !== state.path) continue;
      const kept = path.rows.filter((row) => {
        const verdicts = data.columns.flatMap((_, column) => verdictsAt(row.number, column).slice(0, 1));
        const wanted = verdicts.filter(matches);
        if ((state.verdict || state.promise) && !wanted.length) return false;
        if (text && ![row.title, row.point, row.path, ...verdicts.map((each) => each.instance)].some((each) => each.toLowerCase().includes(text))) return false;
        shownCells += wanted.length;
        return true;
      });
      if (kept.length) paths.set(path.name, kept);
      shownRows += kept.length;
    }
    if (paths.size) chosen.set(workflow.name, paths);
  }
  return { shownRows, shownCells };
}

function filtered() {
  return Boolean(state.workflow || state.path || state.verdict || state.promise || state.text);
}

function roll(members, column) {
  const counts = { pass: 0, unknown: 0, fail: 0 };
  for (const row of members) {
    const verdict = verdictsAt(row.number, column)[0];
    if (verdict) counts[verdict.verdict] += 1;
  }
  const total = counts.pass + counts.unknown + counts.fail;
  const cell = make("td", { class: first(column) });
  if (!total) cell.append(make("span", { class: "roll none" }, "·"));
  else {
    const kind = counts.fail ? "fail" : counts.unknown ? "unknown" : "pass";
    const mark = { fail: "✕", unknown: "?", pass: "" }[kind];
    cell.append(make("span", { class: `roll ${kind}`, title: `${columnName(column)}: ${counts.pass} passed, ${counts.fail} failed, ${counts.unknown} unknown` }, `${counts[kind]}${mark}`));
  }
  return cell;
}

function first(column) {
  return column === 0 || data.columns[column][0] !== data.columns[column - 1][0] ? "first" : null;
}

function groupRow(kind, name, label, members, note) {
  const button = make("button", { type: "button", "aria-expanded": String(open.has(name)), "data-group": name }, make("span", null, label), make("i", null, note));
  return make("tr", { class: `group ${kind}` }, make("th", { scope: "row" }, button), ...data.columns.map((_, column) => roll(members, column)));
}

function pointRow(row) {
  const where = row.where && make("span", { class: "quiet" }, row.where);
  const head = make("th", { scope: "row", title: `${row.title}\n${row.point}` }, row.label, where, row.unstable ? make("span", { class: "tag" }, "unstable") : null);
  return make("tr", null, head, ...data.columns.map((_, column) => {
    const verdict = verdictsAt(row.number, column)[0];
    if (!verdict) return make("td", { class: first(column) }, make("span", { class: "cell none", role: "img", "aria-label": "not judged" }));
    const dim = filtered() && !matches(verdict) ? " dim" : "";
    const named = `${WORDS[verdict.verdict]}: ${row.title}, ${columnName(column)}`;
    return make("td", { class: first(column) }, make("a", { id: `c${row.number}-${column}`, class: `cell ${verdict.verdict}${dim}`, href: link(verdict), "data-scenario": true, tabindex: "-1", "aria-label": named, title: named }));
  }));
}

function head() {
  const victims = [...groupBy(data.columns, ([victim]) => victim)];
  return make("thead", null,
    make("tr", null, make("th", { class: "corner", rowspan: 2, scope: "col" }, "workflow, path, step and boundary"),
      ...victims.map(([victim, of]) => make("th", { colspan: of.length, scope: "colgroup" }, victim))),
    make("tr", null, ...data.columns.map(([, fault], column) => make("th", { scope: "col", class: first(column) }, make("div", { class: "fault-name" }, fault)))));
}

function sections() {
  const bodies = [];
  for (const [workflow, paths] of chosen) {
    const all = [...paths.values()].flat();
    const count = `${paths.size} ${paths.size === 1 ? "path" : "paths"}, ${all.length} points`;
    bodies.push(make("tbody", null, groupRow("workflow", workflow, workflow, all, count)));
    if (!open.has(workflow)) continue;
    for (const [path, members] of paths) {
      const body = make("tbody", { "data-path": path }, groupRow("path", path, shortPath(path, workflow), members, `${members.length} ${members.length === 1 ? "point" : "points"}`));
      if (open.has(path)) body.append(...members.map(pointRow));
      bodies.push(body);
    }
  }
  return bodies;
}

function drawMatrix() {
  const { shownRows, shownCells } = choose();
  document.getElementById("shown").textContent = `${shownCells.toLocaleString("en")} of ${worst.length.toLocaleString("en")} scenarios, at ${shownRows.toLocaleString("en")} ${shownRows === 1 ? "point" : "points"}`;
  document.getElementById("reset").hidden = !filtered();
  if (!workflows.length) grid.replaceChildren(make("p", { class: "lead" }, "Nothing was judged."));
  else grid.replaceChildren(make("table", { class: "grid", "aria-label": "Verdicts by boundary, victim and fault" }, head(), ...sections()));
  const start = grid.querySelector("a.cell");
  if (start) start.tabIndex = 0;
  highlight();
}

function openFor() {
  open.clear();
  if (state.open) {
    const wanted = state.open.split(",");
    for (const { name, paths } of workflows)
      for (const each of [name, ...paths.map((path) => path.name)])
        if (wanted.includes("all") || wanted.includes(each) || wanted.some((one) => one.startsWith(`${each}/`))) open.add(each);
  } else {
    const { shownRows } = choose();
    const few = shownRows <= (filtered() ? AUTO : 60);
    for (const [workflow, paths] of chosen) {
      if (few || chosen.size === 1) open.add(workflow);
      if (few) for (const path of paths.keys()) open.add(path);
    }
  }
}

function toggle(name) {
  const scroll = [grid.scrollLeft, grid.scrollTop];
  if (open.has(name)) open.delete(name);
  else open.add(name);
  drawMatrix();
  [grid.scrollLeft, grid.scrollTop] = scroll;
  [...grid.querySelectorAll("button[data-group]")].find((each) => each.dataset.group === name)?.focus({ preventScroll: true });
}

function move(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const from = event.target.closest("td");
  if (!steps || !from) return;
  event.preventDefault();
  const all = [...grid.querySelectorAll("tr:has(a.cell)")];
  let [row, column] = [all.indexOf(from.parentElement), from.cellIndex];
  for (;;) {
    [row, column] = [row + steps[0], column + steps[1]];
    const cell = all[row]?.cells[column];
    if (!cell || column < 1) return;
    const to = cell.querySelector("a.cell");
    if (!to) continue;
    event.target.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
    return;
  }
}
