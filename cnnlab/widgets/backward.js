// The backward overlay: which outputs a pixel touches and through which entry of the kernel; or what an output reads.
import { clamp, grid, range, readers, reads, windows } from "./arithmetic.js";
import { box, caption, make, numberField, stateOf } from "./controls.js";
import { numberGrid } from "./grid.js";

const HELP = "Point at a pixel or at an output, or choose one of the two with Tab and move by arrow keys.";
const CELL = 44;

function render({ model, el }) {
  const state = stateOf(model);
  const fields = { stride: numberField("stride", 1, 9, (stride) => change({ stride })),
    padding: numberField("padding", 0, 4, (padding) => change({ padding })),
    dilation: numberField("dilation", 1, 4, (dilation) => change({ dilation })) };
  const sides = Object.fromEntries(["input", "output"].map((side) => [side, numberGrid({ label: side, cell: CELL,
    hover: true, moved: (down, along) => step(side, down, along),
    pointed: (row, column) => choose(side, Math.floor(row), Math.floor(column)) })]));
  const kernel = numberGrid({ label: "kernel", cell: CELL });
  const captions = { input: caption("", sides.input.node), kernel: caption("kernel", kernel.node),
    output: caption("", sides.output.node) };
  const { say } = box(el, "which outputs a pixel touches", [
    make("div", { class: "cnnlab-row" }, ...Object.values(fields).map((field) => field.node)),
    make("div", { class: "cnnlab-row cnnlab-grids" }, ...Object.values(captions).map((part) => part.node))], HELP);
  for (const side of ["input", "output"]) {
    sides[side].node.addEventListener("focus", () => state.get().side !== side && choose(side, ...state.get().at));
  }

  function sizes({ size, kernel_size: kernelSize, ...setting }) {
    return { input: size, output: size.map((n, axis) => windows(n, kernelSize[axis], setting).count) };
  }

  function change(changes) {
    const next = { ...state.get(), ...changes }, size = sizes(next)[next.side];
    state.set({ ...changes, at: next.at.map((place, axis) => clamp(place, 0, size[axis] - 1)) });
  }

  function choose(side, row, column) {
    const size = sizes(state.get())[side], at = [clamp(row, 0, size[0] - 1), clamp(column, 0, size[1] - 1)];
    if (side !== state.get().side || String(at) !== String(state.get().at)) state.set({ side, at });
  }

  function step(side, down, along) {
    const { side: current, at: [row, column] } = state.get();
    if (current === side) choose(side, row + down, column + along);
    else choose(side, row, column);
  }

  return state.follow(() => {
    const { size, kernel_size: [height, width], side, at, ...setting } = state.get(), { padding } = setting;
    const { output } = sizes(state.get());
    for (const [name, field] of Object.entries(fields)) field.show(setting[name]);
    captions.input.say(`input, ${size.join("×")}: how many outputs read each pixel`);
    captions.output.say(`output, ${output.join("×")}`);
    if (Math.min(...output) === 0) {
      const text = "No window fits: the kernel reaches further than the padded input.";
      for (const part of [sides.input, sides.output, kernel]) part.show({ last: [0, 0], cellAt: null });
      return say([text], text);
    }
    const touched = side === "input" ? outputsOf(at, [height, width], output, setting)
      : pixelsOf(at, [height, width], size, setting);
    const met = new Map(touched.map((pair) => [String(pair[side === "input" ? "output" : "pixel"]), pair.entry]));
    const used = new Set(touched.map((pair) => String(pair.entry)));
    const cover = size.map((n, axis) => range(n).map((r) =>
      readers(r, [height, width][axis], output[axis], setting).length));
    const most = Math.max(...cover[0]) * Math.max(...cover[1]);

    const cells = { input: (r, c) => (r in cover[0] && c in cover[1]
      ? { text: String(cover[0][r] * cover[1][c]), shade: cover[0][r] * cover[1][c] / most / 2 }
      : { outside: true, label: `row ${r}, column ${c}: padding` }), output: () => ({}) };
    const cellAt = (name) => (r, c) => {
      const entry = name === side ? null : met.get(`${r},${c}`), cell = cells[name](r, c);
      const letter = entry && subscript(entry);
      return { ...cell, ...(entry && { shade: 1, ...(cell.text ? { note: letter } : { text: letter }) }),
        label: `row ${r}, column ${c}${entry ? `, through k[${entry}]` : ""}${cell.outside ? ", padding" : ""}` };
    };
    const frames = (name) => [...met.keys()].filter(() => name !== side).map((place) => {
      const [row, column] = place.split(",").map(Number);
      return { row, column, thin: true, dashed: true };
    }).concat(name === side ? [{ row: at[0], column: at[1] }] : []);
    sides.input.show({ first: [-padding, -padding], last: size.map((n) => n + padding), frames: frames("input"),
      cellAt: cellAt("input"), cursor: side === "input" ? at : null });
    sides.output.show({ last: output, frames: frames("output"), cellAt: cellAt("output"),
      cursor: side === "output" ? at : null });
    kernel.show({ last: [height, width], frames: [...used].map((place) => {
      const [row, column] = place.split(",").map(Number);
      return { row, column, thin: true, dashed: true };
    }), cellAt: (a, b) => ({ text: subscript([a, b]), shade: used.has(`${a},${b}`) ? 1 : 0,
      label: `k[${a}, ${b}]${used.has(`${a},${b}`) ? ", used" : ""}` }) });
    say(...(side === "input" ? explainPixel(at, touched) : explainOutput(at, touched, size)));
  });
}

/** The outputs that read a pixel, each with the entry of the kernel through which it does. */
function outputsOf([row, column], [height, width], [rows, columns], setting) {
  return readers(row, height, rows, setting).flatMap((down) => readers(column, width, columns, setting).map((along) =>
    ({ output: [down.output, along.output], entry: [down.entry, along.entry] })));
}

/** The places an output reads, padding too, each with its entry of the kernel. */
function pixelsOf([p, q], [height, width], size, setting) {
  const down = reads(p, height, setting), along = reads(q, width, setting);
  return grid(height, width, (a, b) => ({ pixel: [down[a], along[b]], entry: [a, b] })).flat();
}

function explainPixel([r, c], touched) {
  const at = `x[${r},${c}]`, dx = `dx[${r},${c}]`;
  if (!touched.length) {
    return [[`${dx} = 0`, `No window reads ${at}, so the loss does not depend on it.`],
      `Pixel row ${r}, column ${c}: no window reads it, its gradient is 0.`];
  }
  const how = touched.map(({ output, entry }) => `y[${output}] through k[${entry}]`).join("; ");
  const many = `${touched.length} output${touched.length > 1 ? "s" : ""}`;
  return [[`${dx} = ${touched.map(({ output, entry }) => `k[${entry}]·dy[${output}]`).join(" + ")}`,
    `${at} touches ${many}: ${how}.`], `Pixel row ${r}, column ${c} touches ${many}: ${how}.`];
}

function explainOutput([p, q], touched, [rows, columns]) {
  const inside = touched.filter(({ pixel: [r, c] }) => r >= 0 && r < rows && c >= 0 && c < columns);
  const terms = inside.map(({ pixel, entry }) => `k[${entry}]·x[${pixel}]`).join(" + ");
  const outside = touched.length - inside.length;
  const text = `y[${p},${q}] reads ${inside.length} pixels${outside ? `, and ${outside} zeros of the padding` : ""}; `
    + "on the way back each gets dy times the entry it met.";
  return [[`y[${p},${q}] = ${terms}`, text], `Output row ${p}, column ${q}: ${text}`];
}

function subscript([a, b]) {
  const low = (n) => String.fromCharCode(0x2080 + n);
  return `k${low(a)}${low(b)}`;
}

export default { render };
