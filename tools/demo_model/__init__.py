"""The demo model of vl2serve: generated data, tokenizer, training, export, evaluation."""
