// Only the newest request counts: one is in flight, and of all later ones only the last is sent after it.

export class Newest {
  // `send(wish, sequence)` returns a promise; `done(answer, wish)` gets answers in order, `failed(error)` errors.
  constructor(send, done, failed) {
    Object.assign(this, { send, done, failed, waiting: null, isBusy: false, sequence: 0 });
  }

  wish(wish) {
    this.waiting = { wish };
    if (!this.isBusy) this.next();
  }

  async next() {
    this.isBusy = true;
    while (this.waiting) {
      const { wish } = this.waiting;
      this.waiting = null;
      this.sequence += 1;
      try {
        this.done(await this.send(wish, this.sequence), wish);
      } catch (error) {
        if (!error.isSuperseded) this.failed(error);
      }
    }
    this.isBusy = false;
  }
}
