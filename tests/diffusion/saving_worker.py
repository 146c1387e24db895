"""The engines' own process, but the sampler's state is saved after every step: arguments as of `dice_talk.worker`."""

from dice_talk import priority, worker
from dice_talk.diffusion import state

if __name__ == "__main__":
    state.SAVE_SECONDS = 0
    priority.ENGINE = 0  # other tests would starve it
    worker.main()
