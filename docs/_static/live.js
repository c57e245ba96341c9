// Brings the widgets of a page to life: cnnlab/widgets/MODULE.js in the place of the still figure.
import { mount } from "./widgets/static.js";

for (const element of document.querySelectorAll(".cnnlab-widget")) {
  const { module, state } = element.dataset;
  const place = document.createElement("div");
  mount(place, { module, state: JSON.parse(state) }).then(() => element.replaceChildren(place));
}
