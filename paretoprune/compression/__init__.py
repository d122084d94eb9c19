"""Problems: what strategies search. Token pruning, and analytic ones with known fronts."""
