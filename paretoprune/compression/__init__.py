"""Problems that strategies search: compression, and analytic ones with known fronts."""
