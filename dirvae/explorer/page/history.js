// Undo and redo of arrays of numbers: each step is a copy, so that undo restores the exact numbers.

export class History {
  constructor(most = 500) {
    this.most = most;
    this.clear();
  }

  clear() {
    this.past = [];
    this.future = [];
  }

  // Record the values before a change.
  record(before) {
    this.past.push(before.slice());
    if (this.past.length > this.most) this.past.shift();
    this.future = [];
  }

  undo(now) {
    if (!this.past.length) return null;
    this.future.push(now.slice());
    return this.past.pop();
  }

  redo(now) {
    if (!this.future.length) return null;
    this.past.push(now.slice());
    return this.future.pop();
  }

  get canUndo() {
    return this.past.length > 0;
  }

  get canRedo() {
    return this.future.length > 0;
  }
}
