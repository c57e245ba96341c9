// The architecture browser: the stages of a network as blocks, and what each gives, holds and costs.
import { clamp } from "./arithmetic.js";
import { box, choice, make, stateOf } from "./controls.js";

const HELP = "Point at a block, or choose the row of blocks with Tab and move by arrow keys. Height: rows of the maps; "
  + "width: channels; both on a logarithmic scale. The bars below a block are its parameters (filled) and its "
  + "multiply-adds (hatched), beside those of the stage that has most.";
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

const STYLE = `
.cnnlab-live .cnnlab-stages { display: flex; flex-wrap: wrap; align-items: flex-end; gap: 10px 5px; margin: 0 0 12px;
  padding: 4px; }
.cnnlab-live .cnnlab-stages button { padding: 3px; border: 2px solid transparent; min-width: 26px; display: flex;
  flex-direction: column; align-items: center; }
.cnnlab-live .cnnlab-stages button[aria-selected=true] { border-color: var(--mark); }
.cnnlab-live .cnnlab-stages .cnnlab-block { border: 1.5px solid currentColor; box-sizing: border-box;
  background: color-mix(in srgb, currentColor 22%, transparent); }
.cnnlab-live .cnnlab-stages [aria-selected=true] .cnnlab-block {
  background: color-mix(in srgb, var(--mark) 55%, transparent); }
.cnnlab-live .cnnlab-stages .cnnlab-share { height: 6px; width: 100%; min-width: 22px; margin-top: 3px;
  box-sizing: border-box; border: 1px solid var(--line); }
.cnnlab-live .cnnlab-stages .cnnlab-share i { display: block; height: 100%; background: currentColor; }
.cnnlab-live .cnnlab-stages .cnnlab-work i { background:
  repeating-linear-gradient(135deg, currentColor 0 2px, transparent 2px 4px); }
`;

function render({ model, el }) {
  const state = stateOf(model), { networks } = state.get(), names = Object.keys(networks);
  const network = choice("network", names.map((name) => [name, name]), (name) => state.set({ name, at: 0 }));
  const row = make("div", { class: "cnnlab-stages", role: "listbox", "aria-label": "stages",
    "aria-orientation": "horizontal", onkeydown: key });
  const { say } = box(el, "architecture browser", [make("style", {}, STYLE),
    make("div", { class: "cnnlab-row" }, ...(names.length > 1 ? [network.node] : [])), row], HELP);
  let laid = null;

  function key(event) {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    event.stopPropagation();
    const { name, at } = state.get();
    choose(clamp(at + STEPS[event.key], 0, networks[name].length - 1));
    row.children[state.get().at].focus();
  }

  function choose(at) {
    if (at !== state.get().at) state.set({ at });
  }

  function lay(stages) {
    const most = (what) => Math.max(...stages.map((stage) => stage[what]));
    const share = (kind, some, all) => make("span", { class: `cnnlab-share ${kind}` },
      make("i", { style: `width: ${100 * part(some, all)}%` }));
    row.replaceChildren(...stages.map((stage, at) => make("button", { type: "button", role: "option",
      "aria-label": spoken(stage), onfocus: () => choose(at), onpointerenter: () => choose(at) },
    make("span", { class: "cnnlab-block", style: size(stage.output) }),
    share("cnnlab-learned", stage.parameters, most("parameters")),
    share("cnnlab-work", stage.multiply_adds, most("multiply_adds")))));
  }

  return state.follow(() => {
    const { name, at } = state.get(), stages = networks[name], stage = stages[at], total = totals(stages);
    network.show(name);
    if (laid !== name) lay(stages);
    laid = name;
    [...row.children].forEach((block, i) => {
      block.setAttribute("aria-selected", String(i === at));
      block.tabIndex = i === at ? 0 : -1;
    });
    say([`${stage.name}: ${stage.output.join("×")}`, stage.kind,
      `${count(stage.parameters, total.parameters)} parameters, ${
        count(stage.multiply_adds, total.multiply_adds)} multiply-adds`,
      `${name} in all: ${total.parameters.toLocaleString("en")} parameters, ${
        total.multiply_adds.toLocaleString("en")} multiply-adds`], spoken(stage));
  });
}

/** The block of a stage: (C, H, W), or (C,) for a vector. */
function size([channels, height = 1]) {
  return `width: ${Math.round(6 + 5 * Math.log2(channels))}px; height: ${Math.round(6 + 14 * Math.log2(height))}px`;
}

function totals(stages) {
  return { parameters: stages.reduce((sum, stage) => sum + stage.parameters, 0),
    multiply_adds: stages.reduce((sum, stage) => sum + stage.multiply_adds, 0) };
}

function part(some, all) {
  return all ? some / all : 0;
}

function count(some, all) {
  return `${some.toLocaleString("en")}${all ? ` (${(100 * part(some, all)).toFixed(1)} %)` : ""}`;
}

function spoken({ name, output, parameters, multiply_adds: work }) {
  return `${name}: ${output.join(" by ")}, ${parameters.toLocaleString("en")} parameters, ${
    work.toLocaleString("en")} multiply-adds`;
}

export default { render };
