// Which thumbnails of a map are shown, and which of them lies in a direction.

// The points that are shown at a scale: each in turn, unless it would touch one before. `points` are [x, y] in pixels.
export function withoutCollisions(points, side) {
  const taken = new Map();
  const chosen = [];
  points.forEach(([x, y], number) => {
    const [column, row] = [Math.floor(x / side), Math.floor(y / side)];
    for (let i = column - 1; i <= column + 1; i += 1) {
      for (let j = row - 1; j <= row + 1; j += 1) {
        const other = taken.get(`${i},${j}`);
        if (other && Math.abs(other[0] - x) < side && Math.abs(other[1] - y) < side) return;
      }
    }
    taken.set(`${column},${row}`, [x, y]);
    chosen.push(number);
  });
  return chosen;
}

// Of `places`, [name, [x, y]] each, the name of the nearest one in a direction: near, and not far to the side.
export function nearestTowards([dx, dy], [x, y], places) {
  let best = null;
  let least = Infinity;
  for (const [name, [u, v]] of places) {
    const along = (u - x) * dx + (v - y) * dy;
    const aside = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
    const cost = along + 2.5 * aside;
    if (along > 1 && cost < least) [best, least] = [name, cost];
  }
  return best;
}
