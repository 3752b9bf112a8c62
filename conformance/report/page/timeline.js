// What happened to one instance, source by source, from the instant of the fault.
const LANES = ["fault", "client", "gate", "witness", "effect", "app"];
const PAUSE = 1.5; // Seconds without anything that are worth a line of their own.

function lane(source) {
  return LANES.find((each) => source.toLowerCase().startsWith(each)) ?? source;
}

function relative(seconds) {
  const sign = seconds < 0 ? "−" : "+";
  return `${sign}${Math.abs(seconds).toFixed(3)} s`;
}

function timeline(entries) {
  const inOrder = [...entries].sort((a, b) => a.at - b.at);
  const lanes = [...new Set(inOrder.map((entry) => lane(entry.source)))];
  lanes.sort((a, b) => (LANES.indexOf(a) + 1 || 99) - (LANES.indexOf(b) + 1 || 99));
  const zero = (inOrder.find((entry) => lane(entry.source) === "fault") ?? inOrder[0])?.at ?? 0;
  const list = make("ol", { class: "timeline", "--lanes": lanes.length });
  let before = null;
  for (const entry of inOrder) {
    if (before !== null && entry.at - before > PAUSE) {
      const pause = `${(entry.at - before).toFixed(1)} s without anything`;
      list.append(make("li", { class: "gap" }, make("time"), make("span", { class: "lanes" }), make("i", null, pause)));
    }
    before = entry.at;
    const on = lane(entry.source);
    const colour = LANES.includes(on) ? `var(--${on})` : "var(--other)";
    const when = new Date(entry.at * 1000).toISOString();
    list.append(make("li", { class: on === "fault" ? (entry.what === "healed" ? "healed" : "fault") : null, "--lane": lanes.indexOf(on), "--colour": colour },
      make("time", { datetime: when, title: when }, relative(entry.at - zero)),
      make("span", { class: "lanes", "aria-hidden": "true" }),
      make("b", null, entry.source),
      make("span", { class: "what" }, entry.what)));
  }
  return list;
}
