// A small array as a grid of cells, in which arrow keys, a mouse or a finger move a cursor.
import { clamp, number, range } from "./arithmetic.js";
import { draw } from "./controls.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
/** A grid of cells.
 *
 * label: what it is called.  moved(rows, columns): an arrow key was pressed.  pointed(row, column, dragged): cell
 * coordinates, with fractions, that were pressed, or over which a pressed pointer went; with `hover` any pointer.
 */
export function numberGrid({ label, cell = 36, moved = null, pointed = null, hover = false }) {
  const id = `cnnlab-${Math.random().toString(36).slice(2)}`;
  const [all, one] = moved ? ["grid", "gridcell"] : ["table", "cell"];
  let top = 0, left = 0, pressed = false;
  const node = draw("svg", { role: all, "aria-label": label, tabindex: moved ? 0 : null, onkeydown: key,
    onpointerdown: press, onpointermove: move, onpointerup: release, onpointercancel: release });
  if (pointed) node.style.cssText = `cursor: pointer; touch-action: ${hover ? "manipulation" : "none"}`;

  function key(event) {
    if (!moved || !(event.key in STEPS) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    moved(...STEPS[event.key]);
  }

  function press(event) {
    if (!pointed) return;
    pressed = true;
    node.setPointerCapture(event.pointerId);
    point(event, false);
  }

  function move(event) {
    if (pointed && (pressed || (hover && event.pointerType === "mouse"))) point(event, true);
  }

  function release() {
    pressed = false;
  }

  function point(event, dragged) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(node.getScreenCTM().inverse());
    pointed(at.y / cell + top, at.x / cell + left, dragged);
  }

  /** Draw cells for rows and columns from `first` up to `last`, not included.
   *
   * cellAt(row, column): { text, note, shade from 0 to 1, outside, mark, label }.  frames: { row, column, height,
   * width, dashed, thin }.  cursor: [row, column] of the cell that arrow keys move.
   */
  function show({ first = [0, 0], last, cellAt, frames = [], cursor = null }) {
    [top, left] = first;
    const columns = last[1] - left, rows = last[0] - top;
    node.setAttribute("viewBox", `-2 -2 ${columns * cell + 4} ${rows * cell + 4}`);
    node.setAttribute("width", columns * cell + 4);
    node.setAttribute("height", rows * cell + 4);
    node.replaceChildren(
      ...range(rows).map((i) => draw("g", { role: "row" }, ...range(columns).map((j) =>
        drawCell(i, j, cellAt(i + top, j + left), cursor?.[0] === i + top && cursor?.[1] === j + left)))),
      draw("g", { "aria-hidden": "true" }, ...frames.map(drawFrame)));
    if (cursor) node.setAttribute("aria-activedescendant", name(...cursor));
    else node.removeAttribute("aria-activedescendant");
  }

  function name(row, column) {
    return `${id}-${row - top}-${column - left}`;
  }

  function drawCell(i, j, { text = "", note = "", shade = 0, outside = false, mark = false, label: words }, chosen) {
    const [x, y] = [j * cell, i * cell], middle = note ? 0.38 : 0.5;
    const group = draw("g", { role: one, id: `${id}-${i}-${j}`, "aria-selected": moved && String(chosen),
      "aria-label": words ?? `row ${i + top}, column ${j + left}: ${text}`, "data-at": `${i + top},${j + left}` },
    draw("rect", { x, y, width: cell, height: cell, fill: "currentColor", "fill-opacity": 0.3 * clamp(shade, 0, 1),
      stroke: "currentColor", "stroke-opacity": outside ? 0.5 : 0.4, "stroke-dasharray": outside ? "2 3" : null }));
    const small = text.length > 4 ? `font-size: ${1.7 * cell / text.length}px` : null;
    if (text !== "") group.append(draw("text", { x: x + cell / 2, y: y + cell * middle, style: small,
      "fill-opacity": outside ? 0.75 : 1 }, text));
    if (note) group.append(draw("text", { class: "cnnlab-note", x: x + cell / 2, y: y + cell * 0.76 }, note));
    if (mark) group.append(draw("circle", { cx: x + cell - 6, cy: y + 6, r: 3.2, fill: "currentColor" }));
    return group;
  }

  function drawFrame({ row, column, height = 1, width = 1, dashed = false, thin = false }) {
    return draw("rect", { x: (column - left) * cell, y: (row - top) * cell, width: width * cell, height: height * cell,
      fill: "none", stroke: "var(--mark)", "stroke-width": thin ? 2 : 3.5, "stroke-dasharray": dashed ? "6 4" : null });
  }

  return { node, show };
}

/** A cell of numbers: the larger the number, the darker the cell. */
export function numberCell(value, largest) {
  const short = Math.abs(value) < 1 ? Number(value.toFixed(2)) : value;  // there is room for five characters
  return { text: number(short), shade: largest ? Math.abs(value) / largest : 0 };
}

/** The largest size of a number in an array. */
export function largestOf(values) {
  return Math.max(0, ...values.flat().map(Math.abs));
}
