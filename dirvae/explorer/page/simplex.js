// Latents that stay on the simplex while one component moves. Pure functions over typed arrays.
//
// A latent is (size, cells) in one Float64Array: component k of cell c stands at k * cells + c. On the simplex the
// components of each cell sum to 1. `memory` has the same shape and holds the last proportions of the components that
// had a share, so that what went to zero comes back as it was.

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

// Move the mean share of a component over all cells: its odds change by the same factor everywhere, so that where it
// was strong it stays stronger. Cells where it was zero follow their memory, or get the mean where they have none.
export function moveMeanShare(values, memory, cells, component, share) {
  if (cells === 1) {
    moveShare(values, memory, 1, 0, component, share);
    return;
  }
  const wanted = Math.min(1, Math.max(0, share));
  const own = Float64Array.from({ length: cells }, (_, cell) => values[component * cells + cell]);
  const hasSome = own.some((value) => value > 0 && value < 1);
  if (wanted === 0 || wanted === 1 || !hasSome) {
    const remembered = memory.subarray(component * cells, (component + 1) * cells);
    const mean = remembered.reduce((sum, value) => sum + value, 0) / cells;
    for (let cell = 0; cell < cells; cell += 1) {
      const pattern = wanted > 0 && wanted < 1 && mean > 0 ? Math.min(1, (wanted * remembered[cell]) / mean) : wanted;
      const kept = remembered[cell];
      moveShare(values, memory, cells, cell, component, pattern);
      memory[component * cells + cell] = kept > 0 ? kept : pattern;
    }
    return;
  }
  const meanAt = (logFactor) => {
    const factor = Math.exp(logFactor);
    let sum = 0;
    for (const value of own) sum += (factor * value) / (factor * value + 1 - value);
    return sum / cells;
  };
  let low = -60;
  let high = 60;
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2;
    if (meanAt(middle) < wanted) low = middle;
    else high = middle;
  }
  const factor = Math.exp((low + high) / 2);
  for (let cell = 0; cell < cells; cell += 1) {
    const value = own[cell];
    moveShare(values, memory, cells, cell, component, (factor * value) / (factor * value + 1 - value));
  }
}

// Off the simplex: move the mean of a component, all cells by the same amount; nothing else changes.
export function moveValue(values, cells, component, value) {
  const change = value - meanShare(values, cells, component);
  for (let cell = 0; cell < cells; cell += 1) values[component * cells + cell] += change;
}
