// The arithmetic of windows.  Arrays are lists of rows; a setting has stride, padding and dilation, alike on both axes.

/** How many pixels a kernel covers, from its first entry to its last. */
export function reach(kernel, dilation = 1) {
  return dilation * (kernel - 1) + 1;
}

/** How many windows fit along an axis, and how many pixels of the padded input lie behind the last one. */
export function windows(size, kernel, { stride = 1, padding = 0, dilation = 1 }) {
  const room = size + 2 * padding - reach(kernel, dilation);
  return room < 0 ? { count: 0, dropped: 0 } : { count: Math.floor(room / stride) + 1, dropped: room % stride };
}

/** The positions that output `p` reads along an axis; those below 0 or from `size` on lie in the padding. */
export function reads(p, kernel, { stride = 1, padding = 0, dilation = 1 }) {
  return range(kernel).map((a) => p * stride - padding + a * dilation);
}

/** The outputs among `count` that read position `r` along an axis, each with the entry of the kernel it meets. */
export function readers(r, kernel, count, setting) {
  return range(count)
    .map((p) => ({ output: p, entry: reads(p, kernel, setting).indexOf(r) }))
    .filter(({ entry }) => entry >= 0);
}

/** The cross-correlation of x with a kernel, as a convolution layer computes it. */
export function convolve(x, kernel, setting) {
  const [rows, columns] = shape(x), [height, width] = shape(kernel);
  return grid(windows(rows, height, setting).count, windows(columns, width, setting).count, (p, q) => {
    const down = reads(p, height, setting), along = reads(q, width, setting);
    return sum(kernel.flatMap((line, a) => line.map((weight, b) => weight * (x[down[a]]?.[along[b]] ?? 0))));
  });
}

/** The gradient of the input of a convolution: each pixel collects from the outputs that read it. */
export function inputGradient(dy, kernel, [rows, columns], setting) {
  const [height, width] = shape(kernel), [down, along] = shape(dy);
  return grid(rows, columns, (r, c) => sum(readers(r, height, down, setting).flatMap((row) =>
    readers(c, width, along, setting).map((column) =>
      kernel[row.entry][column.entry] * dy[row.output][column.output]))));
}

/** The pixels of the window of output (p, q): where they are and their values; null in the padding. */
export function pixels(x, p, q, kernel, setting) {
  return reads(p, kernel, setting).flatMap((row) =>
    reads(q, kernel, setting).map((column) => ({ row, column, value: x[row]?.[column] ?? null })));
}

/** Pool a window: its value, and which share of the output's gradient each pixel gets. */
export function poolWindow(window, kind) {
  const values = window.map(({ value }) => value ?? 0);
  if (kind === "max") {
    const largest = Math.max(...window.map(({ value }) => value ?? -Infinity));
    const winner = window.findIndex(({ value }) => value === largest);
    return { value: largest, shares: window.map((_, i) => Number(i === winner)) };
  }
  if (kind === "average") {
    return { value: sum(values) / values.length, shares: values.map(() => 1 / values.length) };
  }
  const length = Math.sqrt(sum(values.map((value) => value ** 2)));
  return { value: length, shares: values.map((value) => (length ? value / length : 0)) };
}

/** Pool x, and the gradient of x if every output has the gradient 1. */
export function pool(x, kind, kernel, setting) {
  const [rows, columns] = shape(x), gradient = grid(rows, columns, () => 0);
  const output = grid(windows(rows, kernel, setting).count, windows(columns, kernel, setting).count, (p, q) => {
    const window = pixels(x, p, q, kernel, setting), { value, shares } = poolWindow(window, kind);
    window.forEach((pixel, i) => {
      if (pixel.value !== null) gradient[pixel.row][pixel.column] += shares[i];
    });
    return value;
  });
  return { output, gradient };
}

/** Sizes and receptive fields along one axis, after each layer of a stack.
 *
 * field: pixels of the image that a unit sees; jump: pixels between two neighbouring units; centre: where the middle
 * of the first unit's field lies, if the first pixel is 0.
 */
export function follow(size, layers) {
  let [field, jump, centre] = [1, 1, 0];
  return layers.map((layer) => {
    const { count, dropped } = size > 0 ? windows(size, layer.kernel, layer) : { count: 0, dropped: 0 };
    centre += ((reach(layer.kernel, layer.dilation) - 1) / 2 - layer.padding) * jump;
    field += (reach(layer.kernel, layer.dilation) - 1) * jump;
    jump *= layer.stride;
    const row = { input: size, size: count, dropped, field, jump, centre };
    size = count;
    return row;
  });
}

export function range(count) {
  return Array.from({ length: count }, (_, i) => i);
}

export function shape(x) {
  return [x.length, x[0]?.length ?? 0];
}

export function grid(rows, columns, value) {
  return range(rows).map((r) => range(columns).map((c) => value(r, c)));
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), Math.max(low, high));
}

/** A number as the notebooks print it: three digits, a real minus. */
export function number(value) {
  return String(Number(value.toPrecision(Math.abs(value) >= 1000 ? 6 : 3))).replace("-", "−");
}

/** A number in brackets if it is negative. */
export function signed(value) {
  return value < 0 ? `(${number(value)})` : number(value);
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
