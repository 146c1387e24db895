"""HTTP service around `dice_talk`: uploads, queue, worker slots, results."""
