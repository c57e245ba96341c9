// A window that is moved over an input: by arrow keys, by dragging it, or by choosing its output.
import { clamp } from "./arithmetic.js";

/** The ways to move the output `at` of a state.
 *
 * axes(state): for rows and columns, how many windows fit (count) and how many pixels one covers (reach).
 */
export function mover(state, axes) {
  /** Go to output (p, q), or the nearest there is. */
  function choose(p, q) {
    const [rows, columns] = axes(state.get());
    const at = [clamp(p, 0, rows.count - 1), clamp(q, 0, columns.count - 1)];
    if (String(at) !== String(state.get().at)) state.set({ at });
  }

  return {
    choose,
    /** Change a setting, and go to where windows still fit. */
    change(changes) {
      const next = { ...state.get(), ...changes };
      state.set({ ...changes, at: next.at.map((p, axis) => clamp(p, 0, axes(next)[axis].count - 1)) });
    },
    step(down, along) {
      const [p, q] = state.get().at;
      choose(p + down, q + along);
    },
    /** Take the window whose middle is nearest to a place in the input. */
    drag(row, column) {
      const { stride, padding } = state.get(), sides = axes(state.get());
      choose(...[row, column].map((place, axis) => Math.round((place + padding - sides[axis].reach / 2) / stride)));
    },
  };
}
