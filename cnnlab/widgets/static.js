// A page without Python: a stand-in for anywidget's model, and the way to put a widget into a page.
//
//     import { mount } from "./_static/widgets/static.js";
//     await mount(element, { module: "convolution", state: { … } });
//
// The data is what a notebook's output holds as application/vnd.cnnlab.widget+json.

/** A model that nobody else sees: what widgets use of anywidget's. */
export function createModel(values) {
  const listeners = new Map();
  return {
    get: (name) => values[name],
    set(name, value) {
      values = { ...values, [name]: value };
      for (const listener of listeners.get(`change:${name}`) ?? []) listener();
    },
    save_changes() {},
    on(event, listener) {
      listeners.set(event, [...(listeners.get(event) ?? []), listener]);
    },
    off(event, listener) {
      listeners.set(event, (listeners.get(event) ?? []).filter((other) => other !== listener));
    },
  };
}

/** Show the widget `module` in `el`; return what takes it out of use again. */
export async function mount(el, { module, state }) {
  const { default: widget } = await import(`./${module}.js`);
  return widget.render({ model: createModel({ state }), el });
}
