// Output sizes and receptive fields of a stack of layers, along one axis.
import { follow, number, reach } from "./arithmetic.js";
import { box, button, choice, draw, make, numberField, stateOf } from "./controls.js";

const HELP = "Change a number, add or remove a layer. The lines above the table work out the layer whose row has the "
  + "focus or the pointer; the bars show the image, above it what the middle unit sees, and on top what unit 0 sees.";
const FIELDS = { kernel: [1, 99], stride: [1, 32], padding: [0, 200], dilation: [1, 32] };
const HEADS = ["layer", ...Object.keys(FIELDS), "size", "not read", "field", "jump", "centre", ""];
const MOST = 60;

// In a narrow place each row becomes a box of its own, its cells with their heads.
const STYLE = `
.cnnlab-live .cnnlab-sizes table { border-collapse: collapse; width: 100%; margin: 0 0 10px;
  font-variant-numeric: tabular-nums; }
.cnnlab-live .cnnlab-sizes :is(th, td) { padding: 3px 6px; text-align: right; border: 0;
  border-bottom: 1px solid var(--line); background: none; font-weight: 400; font-size: 14px; color: inherit; }
.cnnlab-live .cnnlab-sizes thead th { font-size: 13px; font-weight: 600; }
.cnnlab-live .cnnlab-sizes :is(th, td):first-child { text-align: left; }
.cnnlab-live .cnnlab-sizes .cnnlab-chosen > :first-child { box-shadow: inset 4px 0 0 var(--mark); padding-left: 10px;
  font-weight: 700; }
.cnnlab-live .cnnlab-sizes input[type=number] { width: 4em; text-align: right; }
@container (max-width: 46rem) {
  .cnnlab-live .cnnlab-sizes { max-height: 32rem; overflow-y: auto; }
  .cnnlab-live .cnnlab-sizes :is(table, tbody) { display: block; }
  .cnnlab-live .cnnlab-sizes thead { display: none; }
  .cnnlab-live .cnnlab-sizes tr { display: grid; grid-template-columns: repeat(20, 1fr); padding: 4px 0;
    border-bottom: 1px solid var(--line); }
  .cnnlab-live .cnnlab-sizes tbody :is(th, td) { border: 0; text-align: left; padding: 2px 4px; grid-column: span 4; }
  .cnnlab-live .cnnlab-sizes tbody th { grid-column: 1 / 17; }
  .cnnlab-live .cnnlab-sizes tbody td:last-child { grid-area: 1 / 17 / 2 / 21; text-align: right; }
  .cnnlab-live .cnnlab-sizes tbody td:nth-child(-n + 5) { grid-column: span 5; }
  .cnnlab-live .cnnlab-sizes td[data-head]::before { content: attr(data-head); display: block; font-size: 12px; }
}`;

function render({ model, el }) {
  const state = stateOf(model), { presets } = state.get();
  const image = numberField("image", 1, 4096, (size) => state.set({ size, preset: "" }));
  const preset = choice("stack", [["", "my own"], ...Object.keys(presets).map((name) => [name, name])], (name) =>
    state.set(name ? { preset: name, ...presets[name], at: presets[name].layers.length - 1 } : { preset: "" }));
  const body = make("tbody"), picture = draw("svg", { role: "img", viewBox: "0 0 600 46", width: 600, height: 46 });
  let rows = [];
  const heads = HEADS.map((head) => (head ? make("th", { scope: "col" }, head) : make("td")));
  const { say } = box(el, "sizes and receptive fields", [make("style", {}, STYLE),
    make("div", { class: "cnnlab-row" }, preset.node, image.node, button("Add a layer", add)), picture], HELP,
  [make("div", { class: "cnnlab-sizes" }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body))]);

  function add() {
    const { layers } = state.get();
    if (layers.length >= MOST) return;
    state.set({ preset: "", at: layers.length,
      layers: [...layers, { name: `layer ${layers.length + 1}`, kernel: 3, stride: 1, padding: 1, dilation: 1 }] });
    rows.at(-1).fields.kernel.input.focus();
  }

  function remove(i) {
    const layers = state.get().layers.filter((_, j) => j !== i);
    state.set({ preset: "", layers, at: Math.max(0, Math.min(i, layers.length - 1)) });
    (rows[Math.min(i, rows.length - 1)]?.remove ?? preset.input).focus();
  }

  function layRow(i) {
    const fields = Object.fromEntries(Object.entries(FIELDS).map(([name, [low, high]]) =>
      [name, numberField(`${name} of layer ${i + 1}`, low, high, (value) => state.set({ preset: "",
        layers: state.get().layers.map((layer, j) => (i === j ? { ...layer, [name]: value } : layer)) }))]));
    const name = make("th", { scope: "row" });
    const cells = HEADS.slice(5, 10).map((head) => make("td", { "data-head": head }));
    const remover = button("✕", () => remove(i), `remove layer ${i + 1}`);
    const choose = () => state.get().at !== i && state.set({ at: i });
    const node = make("tr", { onfocusin: choose, onpointerenter: choose }, name,
      ...Object.entries(fields).map(([head, field]) => make("td", { "data-head": head }, field.input)), ...cells,
      make("td", {}, remover));
    return { node, fields, name, cells, remove: remover };
  }

  return state.follow(() => {
    const { size, layers, at, preset: chosen } = state.get(), results = follow(size, layers);
    preset.show(chosen);
    image.show(size);
    while (rows.length > layers.length) rows.pop().node.remove();
    while (rows.length < layers.length) {
      rows.push(layRow(rows.length));
      body.append(rows.at(-1).node);
    }
    rows.forEach(({ node, fields, name, cells }, i) => {
      const { size: count, dropped, field, jump, centre } = results[i];
      node.classList.toggle("cnnlab-chosen", i === at);
      name.textContent = layers[i].name;
      for (const key of Object.keys(FIELDS)) fields[key].show(layers[i][key]);
      const texts = [...(count ? [count, dropped] : ["no window", ""]), field, jump, number(centre)];
      cells.forEach((cell, j) => { cell.textContent = texts[j]; });
    });
    drawField(picture, size, results[at]);
    if (layers.length) say(...explain(layers[at], results[at]));
    else say(["No layer yet."], "No layer yet.");
  });
}

/** The image as a bar, and above it what the first and the middle unit of a layer see. */
function drawField(picture, size, result) {
  picture.replaceChildren();
  if (!result?.size) return;
  const { size: count, field, jump, centre } = result, middle = Math.floor((count - 1) / 2);
  const seen = [0, middle].map((unit) => centre + unit * jump - (field - 1) / 2);
  const low = Math.min(0, ...seen), high = Math.max(size, ...seen.map((first) => first + field));
  const x = (pixel) => 4 + (pixel - low) / (high - low) * 592;
  const bar = (from, length, y, style) => draw("rect", { x: x(from), y, width: x(from + length) - x(from), height: 9,
    stroke: "currentColor", ...style });
  picture.setAttribute("aria-label", `The image has pixels 0 to ${size - 1}; unit 0 sees ${seen[0]} to ${
    seen[0] + field - 1}, unit ${middle} in the middle ${seen[1]} to ${seen[1] + field - 1}.`);
  picture.append(bar(0, size, 34, { fill: "currentColor", "fill-opacity": 0.2 }),
    bar(seen[0], field, 4, { fill: "none", "stroke-dasharray": "4 3" }),
    bar(seen[1], field, 18, { fill: "var(--mark)", "fill-opacity": 0.6 }));
}

function explain({ name, kernel, stride, padding, dilation }, { input, size, dropped, field, jump, centre }) {
  if (!input) return [[`${name}: nothing reaches this layer.`], `${name}: nothing reaches this layer.`];
  const room = input + 2 * padding - reach(kernel, dilation);
  const above = `(${input} + 2·${padding} − ${dilation}·(${kernel} − 1) − 1)/${stride}`;
  if (!size) {
    const text = `${name}: no window fits; it reaches over ${reach(kernel, dilation)} pixels, and there are ${
      input + 2 * padding}.`;
    return [[text], text];
  }
  const exact = `${above} + 1 = ${number(room / stride)} + 1`;
  const floor = dropped ? `, rounded down: ${size}. The last ${dropped} of the ${input + 2 * padding} padded pixels ${
    dropped > 1 ? "are" : "is"} not read.` : ` = ${size}.`;
  const ends = [-1, 1].map((side) => number(centre + side * (field - 1) / 2));
  return [[`${name}: ${exact}${floor}`, `A unit sees ${field} pixels of the image, neighbouring units lie ${jump} `
    + `apart; the first is centred on pixel ${number(centre)}, so it sees ${ends.join(" to ")}.`],
  `${name}: size ${size}${dropped ? `, ${dropped} not read` : ""}, receptive field ${field}, jump ${jump}, centre ${
    number(centre)}.`];
}

export default { render };
