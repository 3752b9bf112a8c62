// The data, and what is asked of it. Text of a target reaches the page through `make` alone, as text.
const data = JSON.parse(document.getElementById("data").textContent);
const VERDICTS = ["pass", "unknown", "fail"]; // In the order of their severity.
const WORDS = { pass: "passed", fail: "failed", unknown: "unknown" };

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== "").map(visible));
  return element;
}

// Control characters as they are written in a program: \x1b instead of nothing.
function visible(child) {
  if (typeof child !== "string") return child;
  return child.replace(/[\0-\x08\x0b-\x1f]/g, (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function decode(row, mutant) {
  const [point, column, verdict, fired, seconds, instance, batch, scenario, repeat, told] = row;
  return {
    point, column, mutant, severity: verdict, verdict: VERDICTS[verdict], fired: fired === 1, seconds,
    instance, batch, scenario, repeat: data.strings[repeat].replaceAll("\0", () => scenario),
    broken: told ? told.broken : {}, reason: told ? told.reason : "",
    timeline: (told && told.timeline) || [], leftOut: (told && told.left_out) || 0,
  };
}

const judged = data.judged.map((row) => decode(row, null));
const mutants = data.mutants.map((each) => ({
  ...each, examples: each.examples.map((row) => decode(row, each.mutant)),
}));
const points = data.points.map(([workflow, path, point, label, boundary], number) => ({
  number, workflow, path, point, label, boundary, unstable: false,
}));
// What one calls a boundary; a boundary that is not here goes by its own name.
const BOUNDARIES = {
  dispatch: "before dispatch", completion: "before completion", before: "before the effect", after: "after the effect",
  request: "on the request", response: "on the response", acknowledged: "after the end",
};
for (const [, alike] of groupBy(points, (each) => [each.path, each.label, each.boundary].join("\0")))
  if (alike.length > 1)
    for (const each of alike) each.label += ` #${each.point.match(/:(\d+)(?=:|$)/)?.[1] ?? alike.indexOf(each) + 1}`;
for (const each of points) {
  const words = BOUNDARIES[each.boundary] ?? each.boundary;
  each.where = each.label.includes(words) || each.label.endsWith(each.boundary) ? "" : words;
  each.title = each.where ? `${each.label}, ${each.where}` : each.label;
}
for (const number of data.unstable) points[number].unstable = true;

// The verdicts on each row and column, the worst first.
const cells = new Map();
for (const each of judged) {
  const key = each.point * data.columns.length + each.column;
  if (cells.has(key)) cells.get(key).push(each);
  else cells.set(key, [each]);
}
for (const verdicts of cells.values()) verdicts.sort((a, b) => b.severity - a.severity);
const worst = [...cells.values()].map((verdicts) => verdicts[0]);

function verdictsAt(point, column) {
  return cells.get(point * data.columns.length + column) ?? [];
}

function groupBy(things, key) {
  const groups = new Map();
  for (const each of things) {
    const name = key(each);
    if (groups.has(name)) groups.get(name).push(each);
    else groups.set(name, [each]);
  }
  return groups;
}

// Workflows, their paths, and the points of each path, as they were measured.
const rows = points.slice(0, data.rows);
const workflows = [...groupBy(rows, (row) => row.workflow)].map(([name, of]) => ({
  name,
  rows: of,
  paths: [...groupBy(of, (row) => row.path)].map(([path, members]) => ({ name: path, rows: members })),
}));

function shortPath(path, workflow) {
  return path.startsWith(`${workflow}/`) ? path.slice(workflow.length + 1) : path;
}

function columnName(column) {
  return data.columns[column].join(" ");
}

function find(scenario, mutant, batch) {
  const among = mutant ? (mutants.find((each) => each.mutant === mutant)?.examples ?? []) : judged;
  const named = among.filter((each) => each.scenario === scenario && (!batch || each.batch === batch));
  return named.sort((a, b) => b.severity - a.severity)[0];
}

function link(verdict) {
  const named = new URLSearchParams({ scenario: verdict.scenario });
  if (verdict.mutant) named.set("mutant", verdict.mutant);
  else if (verdictsAt(verdict.point, verdict.column).length > 1) named.set("batch", verdict.batch);
  return `#${named}`;
}

// What the address says after its `#`: the filters, what is open, and the scenario that is shown.
const state = { workflow: "", path: "", verdict: "", promise: "", text: "", scenario: "", mutant: "", batch: "", open: "" };

function readAddress() {
  const named = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) state[name] = named.get(name) ?? "";
}

function address(changes) {
  const named = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...state, ...changes })) if (value) named.set(name, value);
  return `#${named}`;
}

function matches(verdict) {
  if (state.verdict && verdict.verdict !== state.verdict) return false;
  return !state.promise || state.promise in verdict.broken;
}
