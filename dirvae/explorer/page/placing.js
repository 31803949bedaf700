// Choosing the thumbnails that a map shows, and the nearest one in a direction.

// The numbers of the points to show: each in turn, unless it overlaps an earlier one. `points` are [x, y] in pixels.
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

// The name of the nearest of `places`, each [name, [x, y]], in a direction; distance to the side counts more.
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
