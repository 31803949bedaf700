// Latents that stay on the simplex while one component moves. Pure functions over typed arrays.
//
// A latent is (size, cells) in one Float64Array: component k of cell c stands at k * cells + c. On the simplex the
// components of each cell sum to 1. `memory` has the same shape and holds the last proportions of the components that
// had a share, so that components that went to zero come back as they were.

const SMALLEST = 1e-9;

export function rememberedProportions(values) {
  return Float64Array.from(values, (value) => Math.max(value, 0));
}

// The mean share of a component over the cells.
export function meanShare(values, cells, component) {
  let sum = 0;
  for (let cell = 0; cell < cells; cell += 1) sum += values[component * cells + cell];
  return sum / cells;
}

// Move a component of one cell to `share` in [0, 1], in place: the others keep their log-ratios.
export function moveShare(values, memory, cells, cell, component, share) {
  const size = values.length / cells;
  const wanted = Math.min(1, Math.max(0, share));
  let rest = 0;
  for (let k = 0; k < size; k += 1) if (k !== component) rest += values[k * cells + cell];
  if (rest > 0) {
    for (let k = 0; k < size; k += 1) if (k !== component) memory[k * cells + cell] = values[k * cells + cell];
  }
  let total = 0;
  for (let k = 0; k < size; k += 1) if (k !== component) total += memory[k * cells + cell];
  for (let k = 0; k < size; k += 1) {
    if (k === component) continue;
    const proportion = total > 0 ? memory[k * cells + cell] / total : 1 / (size - 1);
    values[k * cells + cell] = size > 1 ? (1 - wanted) * proportion : 0;
  }
  values[component * cells + cell] = size > 1 ? wanted : 1;
  if (wanted > 0) memory[component * cells + cell] = wanted;
}

// Move the mean share of a component over all cells: its odds change by the same factor in all cells, so
// cells with a larger share keep a larger share. Cells where the share is 0 or 1 use the share in `memory`.
export function moveMeanShare(values, memory, cells, component, share) {
  if (cells === 1) {
    moveShare(values, memory, 1, 0, component, share);
    return;
  }
  const wanted = Math.min(1, Math.max(0, share));
  const remembered = memory.slice(component * cells, (component + 1) * cells);
  if (wanted === 0 || wanted === 1) {
    for (let cell = 0; cell < cells; cell += 1) moveShare(values, memory, cells, cell, component, wanted);
    memory.set(remembered, component * cells);
    return;
  }
  const isInside = (value) => value > 0 && value < 1;
  const odds = Float64Array.from(remembered, (last, cell) => {
    const own = values[component * cells + cell];
    const base = isInside(own) ? own : isInside(last) ? last : 0.5;
    const kept = Math.min(1 - SMALLEST, Math.max(SMALLEST, base));
    return kept / (1 - kept);
  });
  const shareAt = (cell, factor) => (factor * odds[cell]) / (factor * odds[cell] + 1);
  let [low, high] = [-60, 60];
  for (let step = 0; step < 70; step += 1) {
    const middle = (low + high) / 2;
    let sum = 0;
    for (let cell = 0; cell < cells; cell += 1) sum += shareAt(cell, Math.exp(middle));
    if (sum / cells < wanted) low = middle;
    else high = middle;
  }
  const factor = Math.exp((low + high) / 2);
  for (let cell = 0; cell < cells; cell += 1) moveShare(values, memory, cells, cell, component, shareAt(cell, factor));
}

// Off the simplex: move the mean of a component, all cells by the same amount; nothing else changes.
export function moveValue(values, cells, component, value) {
  const change = value - meanShare(values, cells, component);
  for (let cell = 0; cell < cells; cell += 1) values[component * cells + cell] += change;
}
