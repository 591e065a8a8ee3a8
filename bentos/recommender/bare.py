"""Imported before all else of a service: what its packages would import where they find it, and nobody asks for.

XGBoost imports scikit-learn, and so pandas and scipy.stats: 23 % of what a worker imports, for wrappers that are not
used here. A Bento has none of it (bentofile.yaml), and so has a service from a checkout.
"""

import sys

sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]
