"""The claims of VisPCO (arXiv 2604.15188) answered with our own numbers: `paretoprune reproduce`.

`cached_runs` says how much is run, makes each search and grid once and keeps it on disk,
`claims/` holds one file per claim, and `finding` is what each leaves behind.
"""
