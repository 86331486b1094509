"""WiSE-FT (Wortsman et al. 2021): interpolated weights, sweeps over alpha, and rules that choose an alpha."""
