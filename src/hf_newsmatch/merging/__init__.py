"""WiSE-FT (Wortsman et al. 2021): weights between the zero-shot and the fine-tuned model."""
