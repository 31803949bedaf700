"""What a hop rounded to whole samples costs at 44,100 Hz: the model of a run, trained again with curves that drift.

    python benchmarks/sound/rounded_hop.py runs/saxophone-44k --name saxophone-44k-rounded

At 250 rows per second a row lasts 176.4 samples. The model of this control plays one every 176 samples, as code does
that rounds the hop; everything else, the seed too, is that of the run. The numbers are those of `saxophone.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks" / "sound"))

import torch  # noqa: E402
from saxophone import held_out_notes, measure, write  # noqa: E402

from dirvae import AudioVAE, Trainer  # noqa: E402
from dirvae.run.config import read_config  # noqa: E402
from dirvae.seeding import Purpose, derive_seed, seeded  # noqa: E402
from dirvae.tasks.audio import AUDIO  # noqa: E402
from dirvae.tasks.data import open_data  # noqa: E402
from dirvae.training.objective import Bound  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--source", help="where the shards are now")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_config(options.run)
    settings: Any = config.data if options.source is None else replace(config.data, source=options.source)
    sample_rate = settings.sample_rate
    hop = round(sample_rate / settings.control_rate)

    def fresh() -> AudioVAE:
        with seeded(derive_seed(config.fit.seed, Purpose.WEIGHTS), torch.device("cpu")):
            return AudioVAE(sample_rate, control_rate=Fraction(sample_rate, hop), **config.model.to_json())

    model, data = fresh(), open_data(AUDIO.open_iterator, settings, modality="audio", seed=config.fit.seed)
    assert AUDIO.read_batch is not None
    read = AUDIO.read_batch
    began = time.process_time()
    Trainer(
        model, data.batches, loss=Bound(config.fit, lambda batch: read(settings, batch)), config=config.fit
    ).fit()
    data.close()
    seconds = round(time.process_time() - began)
    content = measure(model.eval(), fresh().eval(), *held_out_notes(options.run, options.source))
    write(options.name, {"settings": config.settings(), "hop": hop, "cpu_seconds": seconds, **content})


if __name__ == "__main__":
    main()
