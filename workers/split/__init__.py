"""Jobs of kind `split`: a rule that says which split each sample is in, made and put into effect."""
