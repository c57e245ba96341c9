// What the widgets are made of: elements, fields with labels, and the looks.
import { clamp } from "./arithmetic.js";

// Colours are mixed from that of the text, so that they follow any theme, light or dark.  What a colour says is also
// said by a thickness, a dash or a word.
const STYLE = `
.cnnlab-live { --mark: #d95f02; --line: color-mix(in srgb, currentColor 45%, transparent); font-size: 14px;
  line-height: 1.45; color: var(--jp-content-font-color1, inherit); padding: 4px; max-width: 60rem; text-align: left;
  container-type: inline-size; }
.cnnlab-live .cnnlab-row { display: flex; flex-wrap: wrap; gap: 8px 18px; align-items: flex-end; margin: 0 0 10px; }
.cnnlab-live .cnnlab-row.cnnlab-grids { align-items: flex-start; gap: 12px 28px; }
.cnnlab-live label, .cnnlab-live figcaption { font-size: 13px; }
.cnnlab-live label span { display: block; }
.cnnlab-live :is(input, select, button) { font: inherit; font-size: 14px; color: inherit; background: transparent;
  border: 1px solid var(--line); border-radius: 4px; padding: 3px 6px; min-height: 30px; margin: 0;
  box-sizing: border-box; }
.cnnlab-live option { background: Canvas; color: CanvasText; }
.cnnlab-live input[type=number] { width: 4.6em; }
.cnnlab-live .cnnlab-weights { display: grid; gap: 3px; }
.cnnlab-live .cnnlab-weights input { width: auto; text-align: center; padding: 3px 1px; appearance: textfield; }
.cnnlab-live .cnnlab-weights input::-webkit-inner-spin-button { appearance: none; }
.cnnlab-live button { cursor: pointer; }
.cnnlab-live :is(input, select, button, svg, [tabindex]):focus-visible { outline: 3px solid #3b82f6;
  outline-offset: 2px; }
.cnnlab-live figure { margin: 0; min-width: 0; max-width: 100%; }
.cnnlab-live figcaption { margin: 0 0 4px; text-align: left; color: inherit; }
.cnnlab-live svg { display: block; max-width: 100%; height: auto; font-family: inherit; }
.cnnlab-live svg text { fill: currentColor; text-anchor: middle; dominant-baseline: central; font-size: 14px; }
.cnnlab-live svg text.cnnlab-note { font-size: 11px; }
.cnnlab-live .cnnlab-said { margin: 0; min-height: 5em; }
.cnnlab-live .cnnlab-said p { margin: 0 0 3px; color: inherit; overflow-wrap: anywhere; }
.cnnlab-live .cnnlab-said p:first-child { font-weight: 600; }
.cnnlab-live .cnnlab-help { font-size: 13px; margin: 6px 0 0; }
.cnnlab-live .cnnlab-aloud { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
`;

/** An element with attributes and children; a null attribute is left out, `on…` is a listener. */
export function make(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function draw(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The box of a widget: its parts, the lines that say the arithmetic, what stands below, and a region read aloud. */
export function box(el, title, parts, help, below = []) {
  const said = make("div", { class: "cnnlab-said" }), aloud = make("div", { class: "cnnlab-aloud", role: "status" });
  let first = true;
  // JupyterLab takes arrow keys for itself unless told not to.
  el.replaceChildren(make("div", { class: "cnnlab-live", role: "group", "aria-label": title,
    "data-lm-suppress-shortcuts": "true" },
  make("style", {}, STYLE), ...parts, said, ...below, make("p", { class: "cnnlab-help" }, help), aloud));
  return {
    say(lines, spoken) {
      said.replaceChildren(...lines.map((line) => make("p", {}, line)));
      if (!first && aloud.textContent !== spoken) aloud.textContent = spoken;
      first = false;  // nobody has moved anything yet
    },
  };
}

/** A field for a whole number.  `changed(value)` is called with one from low to high. */
export function numberField(label, low, high, changed) {
  const input = make("input", { type: "number", min: low, max: high, step: 1, "aria-label": label, onchange() {
    const value = Math.round(Number(input.value));
    input.value = input.value === "" || Number.isNaN(value) ? low : clamp(value, low, high);
    changed(Number(input.value));
  } });
  return { input, node: make("label", {}, make("span", {}, label), input), show: (value) => show(input, value) };
}

/** A list to choose from: options are pairs of a value and its words. */
export function choice(label, options, changed) {
  const input = make("select", { "aria-label": label, onchange: () => changed(input.value) },
    ...options.map(([value, words]) => make("option", { value }, words)));
  return { input, node: make("label", {}, make("span", {}, label), input), show: (value) => show(input, value) };
}

export function button(words, pressed, label = null) {
  return make("button", { type: "button", "aria-label": label, onclick: pressed }, words);
}

export function caption(words, ...nodes) {
  const heading = make("figcaption", {}, words);
  return { node: make("figure", {}, heading, ...nodes), say: (text) => { heading.textContent = text; } };
}

/** The part of the model a widget works on: read it, change it, and be told when it changed, here or in Python. */
export function stateOf(model) {
  return {
    get: () => model.get("state"),
    set(changes) {
      model.set("state", { ...model.get("state"), ...changes });
      model.save_changes();
    },
    follow(redraw) {
      redraw();
      model.on("change:state", redraw);
      return () => model.off("change:state", redraw);
    },
  };
}

function show(input, value) {
  if (input.value !== String(value)) input.value = value;
}
