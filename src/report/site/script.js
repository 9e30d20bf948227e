"use strict";
// The page's data: panels in clear, evidence as the very files beside the page. Whatever comes from data
// goes into the document as text, never as markup.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const make = (tag, properties = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

const theme = byId("theme");
const dark = () => document.documentElement.dataset.theme
  ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const named = () => { theme.textContent = dark() ? "Light" : "Dark"; };
theme.hidden = false;
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  named();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", named);
named();

// Evidence: gzip, then JSON lines: a header, columns, runs.
const loaded = {};
function evidence(table) {
  return (loaded[table] ??= (async () => {
    const text = atob(byId("evidence-" + table).textContent.trim());
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const lines = (await new Response(stream).text()).trim().split("\n").map((line) => JSON.parse(line));
    const columns = lines.filter((l) => l.column).map((l) => l.column.json ?? l.column.f32);
    const study = lines.some((l) => l.header?.plan);
    return lines.filter((l) => l.run).map((l) => ({ ...unpack(l.run, columns), study }));
  })());
}

// Every field of every record; null columns follow from the others as in the crate's `report::evidence`.
function unpack(run, columns) {
  const fields = {};
  for (const [name, column] of run.records) if (column !== null) fields[name] = columns[column];
  const f = Math.fround;
  const { objective } = run.manifest.recipe;
  if (!fields.margin && fields.policy_chosen_logps) {
    const scale = f(objective.beta ?? objective.ipo_tau);
    const reward = (policy, reference, i) => f(f(f(policy[i]) - f(reference[i])) * scale);
    fields.margin = fields.policy_chosen_logps.map((_, i) =>
      reward(fields.policy_chosen_logps, fields.reference_chosen_logps, i) -
      reward(fields.policy_rejected_logps, fields.reference_rejected_logps, i));
  }
  fields.correct = fields.margin.map((margin) => margin > 0);
  const measured = Object.fromEntries(run.measured.map(([name, column]) => [name, columns[column]]));
  return { ...run, fields, measured, seed: run.manifest.recipe.seed };
}

const dialog = byId("panel");
const body = byId("panel-body");
let opener = null;

async function open(index, button) {
  const panel = data.panels[index];
  opener = button;
  button?.setAttribute("aria-expanded", "true");
  history.replaceState(null, "", "#cell-" + index);
  body.replaceChildren(make("h2", { id: "panel-title" }, panel.title), make("p", {}, panel.how));
  if (panel.facts.length) {
    body.append(make("dl", {}, ...panel.facts.flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, v)])));
  }
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  if (!panel.runs.length) return;
  const waiting = make("p", { class: "faint" }, "Unpacking the evidence …");
  body.append(waiting);
  try {
    const all = await evidence(panel.table);
    if (!dialog.open || data.panels[index] !== panel) return;
    const runs = panel.runs.map((i) => ({ ...all[i], toml: data.recipes[panel.table][i] }));
    waiting.remove();
    body.append(...runList(runs), ...curveList(runs), ...recordList(runs, panel));
  } catch (error) {
    waiting.textContent = "The evidence cannot be unpacked here: " + error.message;
  }
}
const label = (run, runs) => {
  if (run.study) return `${run.objective}, seed ${run.seed}`;
  const arms = new Set(runs.map((r) => r.latent)).size > 1;
  return `seed ${run.seed}` + (arms ? (run.latent ? " with" : " without") : "");
};

function runList(runs) {
  const details = runs.map((run) => {
    const { manifest: m } = run;
    const dirty = m.code.git_dirty === null ? "unknown" : m.code.git_dirty ? "changed since" : "clean";
    const commit = m.code.git_commit ? `${m.code.git_commit} (${dirty})` : "built without git";
    const facts = [
      ["Run", m.run], ["Recipe, data, model, code", "hashed into the run's id"],
      ["Data", m.data], ["Base model", m.model], ["Code", m.code.fingerprint],
      ["Version, commit", `${m.code.crate_version}, ${commit}`],
      ["Records", m.sha256.records], ["Metrics", m.sha256.metrics],
      ["Machine", `${m.machine.device}, ${m.machine.threads} threads`],
      ["Time, memory", `${m.outcome.wall_seconds.toFixed(1)} s, ${m.outcome.peak_memory_mib?.toFixed(0) ?? "?"} MiB at most`],
      ["Finished", m.outcome.finished],
      ["Pairs", `${m.outcome.train_pairs} in training, ${m.outcome.test_pairs} in test, ${m.outcome.truncated} truncated`],
    ];
    const commands = (m.code.git_commit ? `git checkout ${m.code.git_commit}\n` : "") +
      "cargo run --release --locked -- train recipe.toml   # the recipe below; gives the same run id";
    const accuracy = m.outcome.metrics.test_accuracy;
    return make("details", {},
      make("summary", {}, `${run.base}, ${run.objective}${run.latent && !run.study ? " with LPC" : ""}, seed ${run.seed}: `,
        make("span", { class: "mono" }, m.run), accuracy === undefined ? "" : `, ${(100 * accuracy).toFixed(1)} %`),
      make("dl", {}, ...facts.flatMap(([k, v]) => [make("dt", {}, k), make("dd", { class: "mono" }, String(v))])),
      make("p", {}, "To run it again:"), make("pre", {}, commands),
      make("p", {}, "recipe.toml:"), make("pre", {}, run.toml));
  });
  if (details.length === 1) details[0].open = true;
  return [make("h3", {}, details.length === 1 ? "Run" : `Runs (${details.length})`), ...details];
}

function curveList(runs) {
  const names = [...new Set(runs.flatMap((run) => run.curves.map(([name]) => name)))];
  if (!names.length) return [];
  const dashes = ["", "5 3", "1.5 2.5", "8 3 2 3"];
  const seeds = [...new Set(runs.map((r) => r.seed))];
  const charts = names.map((name) => {
    const lines = runs.map((run) => ({ run, values: run.curves.find(([n]) => n === name)?.[1] ?? [] }));
    const values = lines.flatMap((l) => l.values);
    const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
    const ns = "http://www.w3.org/2000/svg";
    const draw = (tag, attributes, text) => {
      const node = document.createElementNS(ns, tag);
      for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
      if (text !== undefined) node.textContent = text;
      return node;
    };
    const svg = draw("svg", { viewBox: "0 0 260 120", role: "img", "aria-label": `${name} over training` });
    svg.append(draw("path", { class: "grid", d: "M44 8V104H256M44 8H256" }));
    const show = (x) => Math.abs(x) >= 1e5 || (x !== 0 && Math.abs(x) < 1e-2) ? x.toExponential(1) : String(+x.toPrecision(3));
    svg.append(draw("text", { x: 40, y: 14, "text-anchor": "end" }, show(high)));
    svg.append(draw("text", { x: 40, y: 104, "text-anchor": "end" }, show(low)));
    svg.append(draw("text", { x: 44, y: 117 }, "step 0"));
    const steps = runs[0].manifest.outcome.steps;
    svg.append(draw("text", { x: 256, y: 117, "text-anchor": "end" }, String(steps)));
    for (const { run, values: of } of lines) {
      const points = of.map((v, i) =>
        `${(44 + (212 * (i + 0.5)) / of.length).toFixed(1)},${(104 - (96 * (v - low)) / span).toFixed(1)}`);
      const dash = dashes[seeds.indexOf(run.seed) % dashes.length];
      svg.append(draw("polyline", { class: run.latent ? "with" : "without", points: points.join(" "), "stroke-dasharray": dash }));
    }
    return make("figure", {}, make("figcaption", {}, name), svg);
  });
  const arms = [...new Set(runs.map((r) => r.latent))].map((latent) => [
    make("span", { class: "key " + (latent ? "with" : "without") }), (latent ? "with " : "without ") + (runs[0].study ? "a latent" : "LPC")]).flat();
  return [make("h3", {}, "Training curves"),
    make("p", { class: "faint" }, "Means over stretches of steps; one line a run, dashes tell seeds apart.", ...arms),
    make("div", { class: "curves" }, ...charts)];
}

function recordList(runs, panel) {
  const number = (x, digits = 4) => (x === null || x === undefined ? "–" : typeof x === "number" ? x.toFixed(digits) : String(x));
  const measured = Object.keys(runs[0].measured);
  const n = measured.length ? runs[0].measured[measured[0]].length : runs[0].fields.index?.length ?? 0;
  const field = (name, i) => runs[0].fields[name]?.[i];
  const choose = make("select", { "aria-label": "Columns" },
    ...(runs.length > 1 ? [make("option", { value: "all" }, "margins of all runs")] : []),
    ...runs.map((run, i) => make("option", { value: i }, `every field, ${label(run, runs)}`)));
  const outcomes = { all: "all pairs", right: "right in every run", wrong: "wrong in every run", mixed: "runs disagree" };
  const mixture = runs[0].study ? "a latent" : "LPC";
  const arms = [false, true].map((latent) => runs.filter((r) => r.latent === latent));
  if (arms[0].length && arms[1].length) Object.assign(outcomes, { gained: `right more often with ${mixture}`, lost: `right less often with ${mixture}` });
  const outcome = make("select", { "aria-label": "Outcome" },
    ...Object.entries(outcomes).map(([value, text]) => make("option", { value }, text)));
  const search = make("input", { type: "search", placeholder: "id or source", "aria-label": "Search by id or source", value: panel.filter });
  const counted = make("span", { class: "faint", role: "status" });
  const head = make("thead"), rows = make("tbody"), more = make("button", { class: "more", type: "button" }, "Show 100 more");
  let sort = { by: 0, down: false }, shown = 100;
  const rights = Array.from({ length: n }, (_, i) => runs.filter((r) => r.fields.correct[i]).length);
  const share = (of, i) => of.filter((r) => r.fields.correct[i]).length / of.length;

  const columns = () => {
    if (measured.length) {
      return [["example", (i) => i, 0], ...runs.flatMap((run) =>
        measured.map((name) => [`${name}, ${label(run, runs)}`, (i) => run.measured[name][i], 4]))];
    }
    const shared = [["index", (i) => field("index", i), 0], ["id", (i) => field("id", i)], ["source", (i) => field("source", i)]];
    if (choose.value !== "all") {
      const run = runs[+choose.value];
      const rest = run.records.map(([name]) => name).filter((name) => !["index", "id", "source"].includes(name));
      return [...shared, ...rest.map((name) => [name, (i) => run.fields[name][i], 4])];
    }
    return [...shared, ["bayes", (i) => field("bayes", i), 3], [`right of ${runs.length}`, (i) => rights[i], 0],
      ...runs.map((run) => [`margin, ${label(run, runs)}`, (i) => run.fields.margin[i], 4, (i) => run.fields.correct[i]])];
  };
  const kept = () => {
    const wanted = search.value.trim().toLowerCase();
    const tests = {
      all: () => true, right: (i) => rights[i] === runs.length, wrong: (i) => rights[i] === 0,
      mixed: (i) => rights[i] > 0 && rights[i] < runs.length,
      gained: (i) => share(arms[1], i) > share(arms[0], i), lost: (i) => share(arms[1], i) < share(arms[0], i),
    };
    const test = tests[outcome.value];
    const list = [];
    for (let i = 0; i < n; i++) {
      const text = `${field("id", i) ?? i} ${field("source", i) ?? ""}`.toLowerCase();
      if (text.includes(wanted) && test(i)) list.push(i);
    }
    return list;
  };
  const draw = () => {
    const of = columns();
    if (sort.by >= of.length) sort = { by: 0, down: false };
    const value = of[sort.by][1];
    const list = kept();
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : Number(a ?? -Infinity) - Number(b ?? -Infinity));
    list.sort((a, b) => compare(value(a), value(b)) * (sort.down ? -1 : 1) || a - b);
    head.replaceChildren(make("tr", {}, ...of.map(([name], c) => make("th",
      { scope: "col", class: name === "id" || name === "source" ? "" : "r", "aria-sort": c !== sort.by ? "none" : sort.down ? "descending" : "ascending" },
      make("button", { type: "button", onclick: () => {
        sort = { by: c, down: c === sort.by && !sort.down };
        draw();
        head.querySelectorAll("button")[c].focus();
      } }, name)))));
    rows.replaceChildren(...list.slice(0, shown).map((i) => make("tr", {}, ...of.map(([name, get, digits, right]) => {
      const text = name === "id" || name === "source";
      const mark = right ? (right(i) ? " right" : " wrong") : "";
      return make("td", { class: (text ? "" : "r") + mark }, text ? String(get(i)) : number(get(i), digits) + (right ? (right(i) ? " ✓" : " ✗") : ""));
    }))));
    const correct = list.reduce((sum, i) => sum + rights[i], 0) / (list.length * runs.length);
    counted.textContent = `${list.length} of ${n}` + (measured.length || !list.length ? "" : `; ${(100 * correct).toFixed(1)} % right, mean over runs`);
    more.hidden = list.length <= shown;
  };
  for (const control of [choose, outcome, search]) control.addEventListener("input", () => { shown = 100; draw(); });
  more.addEventListener("click", () => { shown += 100; draw(); });
  draw();
  return [make("h3", {}, "Records"),
    make("div", { class: "filters" }, search, outcome, ...(measured.length ? [] : [choose]), counted),
    make("div", { class: "scroll" }, make("table", {}, head, rows)), more];
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.cell");
  if (button) open(+button.dataset.panel, button);
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
byId("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  if (dialog.open) return; // another cell was opened in the meantime
  opener?.setAttribute("aria-expanded", "false");
  opener?.focus();
  history.replaceState(null, "", location.pathname + location.search);
});
// A link to a cell: page.html#cell-7.
const follow = () => {
  const linked = /^#cell-(\d+)$/.exec(location.hash);
  if (linked && data.panels[+linked[1]]) open(+linked[1], document.querySelector(`button[data-panel="${linked[1]}"]`));
};
addEventListener("hashchange", follow);
follow();
