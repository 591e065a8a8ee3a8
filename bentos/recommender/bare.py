"""Keeps a service from importing scikit-learn. Import this module before all else.

XGBoost imports scikit-learn where it finds it, and with it pandas and scipy.stats, for wrappers that are not used here:
23 % of what a worker imports. A Bento has none of these packages (bentofile.yaml); a service from a checkout leaves
them alone.
"""

import sys

sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]
