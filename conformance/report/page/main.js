// The address is the state: every view of this page can be bookmarked and shared.
const filters = document.getElementById("filters");
const FILTERS = ["workflow", "path", "promise", "text", "verdict"];

function options(name, values) {
  const select = filters.elements[name];
  for (const value of values) select.append(make("option", { value }, value));
}

function showFilters() {
  for (const name of FILTERS) if (filters.elements[name].value !== state[name]) filters.elements[name].value = state[name];
}

function follow() {
  const before = FILTERS.map((name) => state[name]).join("\0") + state.open;
  readAddress();
  const now = FILTERS.map((name) => state[name]).join("\0") + state.open;
  if (before !== now) redraw();
  showPanel();
}

function redraw() {
  showFilters();
  openFor();
  drawMatrix();
}

function apply(changes) {
  Object.assign(state, changes, { open: "" });
  history.replaceState(null, "", address({}));
  redraw();
}

function onClick(event) {
  const target = event.target.closest("a[data-scenario], a[data-filter], nav a, .skip, button[data-group], button[data-copy]");
  if (!target) return;
  if (target.matches("button[data-group]")) toggle(target.dataset.group);
  else if (target.matches("button[data-copy]")) copy(target);
  else if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  else {
    event.preventDefault();
    const named = new URLSearchParams(target.hash.slice(1));
    if (target.matches("[data-scenario]"))
      location.hash = address({ mutant: "", batch: "", ...Object.fromEntries(named) });
    else if (target.matches("[data-filter]")) {
      apply({ workflow: "", path: "", text: "", verdict: "", promise: "", ...Object.fromEntries(named) });
      document.getElementById("matrix").scrollIntoView();
    } else {
      // Sections are no part of the state: the address keeps the filters.
      const section = document.getElementById(target.hash.slice(1));
      section.scrollIntoView();
      section.tabIndex = -1;
      section.focus({ preventScroll: true });
    }
  }
}

options("workflow", workflows.map((each) => each.name));
options("path", workflows.flatMap((each) => each.paths.map((path) => path.name)));
options("promise", [...new Set(judged.flatMap((each) => Object.keys(each.broken)))].sort());
filters.addEventListener("input", () => apply(Object.fromEntries(FILTERS.map((name) => [name, filters.elements[name].value]))));
filters.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("reset").addEventListener("click", () => apply(Object.fromEntries(FILTERS.map((name) => [name, ""]))));
document.getElementById("expand").addEventListener("click", () => {
  for (const { name, paths } of workflows) { open.add(name); for (const path of paths) open.add(path.name); }
  drawMatrix();
});
document.getElementById("collapse").addEventListener("click", () => { open.clear(); drawMatrix(); });
document.addEventListener("click", onClick);
grid.addEventListener("keydown", move);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !panel.hidden) closePanel(); });
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll(".failure details")) { each.fill(); each.open = true; }
});

readAddress();
drawFailures();
drawExamples();
redraw();
showPanel();
document.documentElement.dataset.ready = "true";
