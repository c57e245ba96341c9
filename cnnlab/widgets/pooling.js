// The pooling explorer: what a window is reduced to, and where the gradient goes on the way back.
import { number, pixels, pool, poolWindow, shape, signed, windows } from "./arithmetic.js";
import { box, button, caption, choice, make, numberField, stateOf } from "./controls.js";
import { largestOf, numberCell, numberGrid } from "./grid.js";
import { mover } from "./moving.js";

const HELP = "Drag the frame, or choose the input or the output with Tab and move by arrow keys. A dot marks a pixel "
  + "that is the maximum of a window.";
const KINDS = [["max", "max"], ["average", "average"], ["L2", "L2"]];

function render({ model, el }) {
  const state = stateOf(model), start = structuredClone(state.get()), moves = mover(state, axes);
  const fields = { kind: choice("pooling", KINDS, (kind) => change({ kind })),
    window: numberField("window", 1, 5, (window) => change({ window })),
    stride: numberField("stride", 1, 9, (stride) => change({ stride })),
    padding: numberField("padding", 0, 2, (padding) => change({ padding })) };
  const input = numberGrid({ label: "input, with the window", moved: moves.step, pointed: moves.drag });
  const output = numberGrid({ label: "output", moved: moves.step, pointed: (row, column) =>
    moves.choose(Math.floor(row), Math.floor(column)) });
  const back = numberGrid({ label: "gradient of the input" });
  const captions = { input: caption("", input.node), output: caption("", output.node),
    back: caption("gradient of the input, if that of every output is 1", back.node) };
  const { say } = box(el, "pooling explorer", [
    make("div", { class: "cnnlab-row" }, ...Object.values(fields).map((field) => field.node),
      button("Start again", () => state.set(structuredClone(start)))),
    make("div", { class: "cnnlab-row cnnlab-grids" }, ...Object.values(captions).map((part) => part.node))], HELP);

  function axes({ image, window, ...setting }) {
    return shape(image).map((size) => ({ ...windows(size, window, setting), reach: window }));
  }

  function change(changes) {
    // As in PyTorch, padding is at most half of the window, so that no window lies in the padding alone.
    const { window, padding } = { ...state.get(), ...changes };
    moves.change({ ...changes, padding: Math.min(padding, Math.floor(window / 2)) });
  }

  return state.follow(() => {
    const { image, kind, window: side, at: [p, q], ...setting } = state.get(), { stride, padding } = setting;
    const [rows, columns] = axes(state.get());
    for (const name of Object.keys(fields)) fields[name].show(state.get()[name]);
    if (!rows.count || !columns.count) {
      const text = `No window fits: it has ${side} rows and columns, the padded input ${shape(image).map((n) =>
        n + 2 * padding).join(" and ")}.`;
      for (const part of [input, output, back]) part.show({ last: [0, 0], cellAt: null });
      return say([text], text);
    }
    const { output: result, gradient } = pool(image, kind, side, setting);
    const window = pixels(image, p, q, side, setting), { value, shares } = poolWindow(window, kind);
    const winner = kind === "max" ? window[shares.indexOf(1)] : null;
    const frame = { row: window[0].row, column: window[0].column, height: side, width: side };
    const won = winner ? [{ ...winner, thin: true, dashed: true }] : [];
    const scale = { input: largestOf(image), output: largestOf(result), gradient: largestOf(gradient) };
    const largest = kind === "max" ? gradient : null;  // not 0 where a window has its maximum
    input.show({ first: [-padding, -padding], last: shape(image).map((n) => n + padding),
      cursor: [window[0].row, window[0].column], frames: [frame, ...won],
      cellAt: (r, c) => (image[r]?.[c] === undefined
        ? { text: kind === "max" ? "−∞" : "0", outside: true, label: `row ${r}, column ${c}: padding` }
        : { ...numberCell(image[r][c], scale.input), mark: largest?.[r][c] > 0,
          label: `row ${r}, column ${c}: ${number(image[r][c])}${largest?.[r][c] > 0 ? ", a maximum" : ""}` }) });
    output.show({ last: [rows.count, columns.count], cursor: [p, q], frames: [{ row: p, column: q }],
      cellAt: (r, c) => numberCell(result[r][c], scale.output) });
    back.show({ last: shape(image), frames: won,
      cellAt: (r, c) => numberCell(gradient[r][c], scale.gradient) });
    captions.input.say(`input, ${shape(image).join("×")}${padding ? `, padding ${padding} around it` : ""}`);
    captions.output.say(`output, ${rows.count}×${columns.count}`);
    say(...explain({ kind, p, q, stride, padding, side }, window, value, shares, winner));
  });
}

function explain({ kind, p, q, stride, padding, side }, window, value, shares, winner) {
  const inside = window.filter((pixel) => pixel.value !== null);
  const [rows, columns] = ["row", "column"].map((axis) =>
    [...new Set(window.map((pixel) => pixel[axis]))].map(number).join(", "));
  const start = (at) => `${at}·${stride}${padding ? ` − ${padding}` : ""}`;
  const taken = kind === "max" ? inside : window, text = taken.map((pixel) => signed(pixel.value ?? 0));
  const sums = { max: `max(${taken.map((pixel) => number(pixel.value)).join(", ")})`,
    average: `(${text.join(" + ")})/${side * side}`, L2: `√(${text.map((t) => `${t}²`).join(" + ")})` };
  const outside = window.length - inside.length;
  const padded = outside ? ` ${outside} of the ${window.length} pixels lie in the padding and ${kind === "max"
    ? "never win" : "count as 0"}.` : "";
  const least = Math.min(...shares), most = Math.max(...shares);
  const goes = { max: () => `The gradient of this output goes to row ${winner.row}, column ${winner.column} alone.`,
    average: () => `Each pixel gets 1/${side * side} of the gradient of this output.`,
    L2: () => (value ? `Each pixel x gets x/${number(value)} of the gradient of this output: ${number(least)} to ${
      number(most)}.` : "The length is 0, where there is no gradient; 0 is taken.") }[kind]();
  const line = `y[${p}, ${q}] = ${sums[kind]} = ${number(value)}`;
  const read = `rows ${rows} and columns ${columns}.${padded}`;
  return [[line, `The window begins at row ${start(p)} and column ${start(q)}: ${read}`, goes],
    `Output row ${p}, column ${q} is ${number(value)}, from ${read} ${goes}`];
}

export default { render };
