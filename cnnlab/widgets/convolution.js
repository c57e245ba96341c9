// The convolution explorer: a kernel on an input, one window at a time, with the indices written out.
import { convolve, grid, number, reach, reads, shape, signed, windows } from "./arithmetic.js";
import { box, button, caption, make, numberField, stateOf } from "./controls.js";
import { largestOf, numberCell, numberGrid } from "./grid.js";
import { mover } from "./moving.js";

const HELP = "Drag the frame, or choose the input or the output with Tab and move by arrow keys. Click an entry of the "
  + "kernel and type, or change it with the arrow keys up and down.";

function render({ model, el }) {
  const state = stateOf(model), start = structuredClone(state.get());
  const { change, choose, step, drag } = mover(state, axes);
  const kernel = make("div", { class: "cnnlab-weights", role: "group", "aria-label": "kernel" });
  let laid = "";  // the size of the kernel whose fields are there
  const fields = { stride: numberField("stride", 1, 9, (stride) => change({ stride })),
    padding: numberField("padding", 0, 4, (padding) => change({ padding })),
    dilation: numberField("dilation", 1, 4, (dilation) => change({ dilation })) };
  const input = numberGrid({ label: "input, with the window", moved: step, pointed: drag });
  const output = numberGrid({ label: "output", moved: step, pointed: (row, column) =>
    choose(Math.floor(row), Math.floor(column)) });
  const captions = { input: caption("", input.node), kernel: caption("", kernel), output: caption("", output.node) };
  const { say } = box(el, "convolution explorer", [
    make("div", { class: "cnnlab-row" }, ...Object.values(fields).map((field) => field.node),
      button("Start again", () => state.set(structuredClone(start)))),
    make("div", { class: "cnnlab-row cnnlab-grids" }, ...Object.values(captions).map((part) => part.node))], HELP);

  function axes({ image, kernel: weights, ...setting }) {
    return shape(image).map((size, axis) => {
      const taps = shape(weights)[axis];
      return { ...windows(size, taps, setting), reach: reach(taps, setting.dilation) };
    });
  }

  function weigh(a, b, value) {
    const weights = structuredClone(state.get().kernel);
    weights[a][b] = value;
    state.set({ kernel: weights });
  }

  function showKernel(weights) {
    const [height, width] = shape(weights);
    if (laid !== `${height}×${width}`) {
      laid = `${height}×${width}`;
      kernel.style.gridTemplateColumns = `repeat(${width}, 3.2em)`;
      kernel.replaceChildren(...grid(height, width, (a, b) => make("input", { type: "number", step: "any",
        "aria-label": `kernel row ${a}, column ${b}`,
        onkeydown(event) {
          const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
          if (!by) return;
          event.preventDefault();
          weigh(a, b, state.get().kernel[a][b] + by);
        },
        onfocus: (event) => event.target.select(),
        oninput: (event) => Number.isFinite(event.target.valueAsNumber) && weigh(a, b, event.target.valueAsNumber),
        onblur: () => showKernel(state.get().kernel) })).flat());
    }
    [...kernel.children].forEach((field, i) => {
      const value = weights[Math.floor(i / width)][i % width];
      const typing = field === document.activeElement && !Number.isFinite(field.valueAsNumber);
      if (!typing && field.valueAsNumber !== value) field.value = Number(value.toPrecision(3));
    });
  }

  return state.follow(() => {
    const { image, kernel: weights, at: [p, q], ...setting } = state.get(), { padding, dilation } = setting;
    const size = shape(image), [height, width] = shape(weights), [rows, columns] = axes(state.get());
    const fits = rows.count > 0 && columns.count > 0;
    const result = fits ? convolve(image, weights, setting) : [];
    for (const [name, field] of Object.entries(fields)) field.show(setting[name]);
    showKernel(weights);

    const down = reads(p, height, setting), along = reads(q, width, setting);
    const scale = { input: largestOf(image), output: largestOf(result) };
    const whole = { row: down[0], column: along[0], height: reach(height, dilation), width: reach(width, dilation) };
    const each = down.flatMap((row) => along.map((column) => ({ row, column })));
    input.show({ first: [-padding, -padding], last: size.map((n) => n + padding),
      cursor: fits ? [down[0], along[0]] : null,
      frames: !fits ? [] : dilation > 1 ? [{ ...whole, dashed: true, thin: true }, ...each] : [whole],
      cellAt: (r, c) => (image[r]?.[c] === undefined
        ? { text: "0", outside: true, label: `row ${r}, column ${c}: padding` }
        : numberCell(image[r][c], scale.input)) });
    output.show({ last: [rows.count, columns.count], cursor: fits ? [p, q] : null,
      frames: fits ? [{ row: p, column: q }] : [], cellAt: (r, c) => numberCell(result[r][c], scale.output) });
    captions.input.say(`input, ${size.join("×")}${padding ? `, padding ${padding} around it` : ""}`);
    captions.kernel.say(`kernel, ${height}×${width}`);
    captions.output.say(`output, ${rows.count}×${columns.count}`);
    say(...(fits ? explain(state.get(), result[p][q], down, along, [rows, columns]) : tooLarge(state.get())));
  });
}

/** The lines below the grids, and the sentence that is read aloud. */
function explain({ image, kernel, stride, padding, dilation, at: [p, q] }, value, down, along, axes) {
  const place = (letter, at) => `${at}·${stride} + ${letter}·${dilation}${padding ? ` − ${padding}` : ""}`;
  const terms = kernel.flatMap((line, a) => line.map((weight, b) => ({ weight, pixel: image[down[a]]?.[along[b]] })));
  const products = terms.map(({ weight, pixel }) => `${signed(pixel ?? 0)}·${signed(weight)}`).join(" + ");
  const outside = terms.filter(({ pixel }) => pixel === undefined).length;
  const inPadding = outside ? `${outside} of the ${terms.length} pixels lie in the padding and count as 0`
    : "no pixel lies in the padding";
  const lost = ["rows", "columns"].map((word, axis) => axes[axis].dropped && `${axes[axis].dropped} ${word}`)
    .filter(Boolean);
  return [[
    `y[${p}, ${q}] = Σ x[${place("a", p)}, ${place("b", q)}] · k[a, b] = ${number(value)}`,
    `Rows ${list(down)}, columns ${list(along)} of the input; ${inPadding}.`,
    `${products} = ${number(value)}`,
    ...["rows", "columns"].map((word, axis) => `${word} of the output: ⌊(${shape(image)[axis]} + 2·${padding} − ${
      dilation}·(${shape(kernel)[axis]} − 1) − 1)/${stride}⌋ + 1 = ${axes[axis].count}`),
    ...(lost.length ? [`Not read, as the stride does not fit: the last ${lost.join(" and ")} of the padded input.`]
      : []),
  ], `Output row ${p}, column ${q} is ${number(value)}. It reads rows ${list(down)} and columns ${list(along)}; `
    + `${inPadding}.`];
}

function list(places) {
  return places.map((place) => number(place)).join(", ");
}

function tooLarge({ image, kernel, padding, dilation }) {
  const axis = shape(image).findIndex((size, i) => size + 2 * padding < reach(shape(kernel)[i], dilation));
  const text = `No window fits: the kernel reaches over ${reach(shape(kernel)[axis], dilation)} `
    + `${["rows", "columns"][axis]}, and the padded input has ${shape(image)[axis] + 2 * padding}.`;
  return [[text], text];
}

export default { render };
