"""A recommender of this process, from the settings: store, item index, champion bundle, served log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from recsys.cleaned.people import people_of
from recsys.lake import Lake
from recsys.policy.exploration import Explorer
from recsys.privacy.border import Border
from recsys.registry import Bundle, Registry
from recsys.retrieval.item_index import ItemIndexUnavailable, MilvusIndex
from recsys.retrieval.milvus_server import MilvusServerError, ensure_milvus
from recsys.serving import bundle
from recsys.serving.bundles import BundleWatch
from recsys.serving.inspect import Inspector
from recsys.serving.pipeline import Recommender
from recsys.serving.retention import Retention
from recsys.serving.served_log import ServedLog
from recsys.settings import Settings
from recsys.store.checkpoints import Checkpoints
from recsys.store.opening import open_store

MILVUS_SECONDS = 2.0
log = logging.getLogger("recsys.serving")


def open_recommender(
    settings: Settings,
    *,
    follow: bool = True,
    border: Border | None = None,
    logged: bool = True,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Recommender:
    """See `open_both`, of which this is the recommender."""
    return open_both(settings, follow=follow, border=border, logged=logged, clock=clock)[0]


def open_both(
    settings: Settings,
    *,
    follow: bool = True,
    border: Border | None = None,
    logged: bool = True,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> tuple[Recommender, Inspector]:
    """The recommender over the champion of RECSYS_HOME, which with `follow` adopts later champions by itself; and what
    looks into its requests, over the same store and bundles.

    Args:
        logged: whether its answers are shown to somebody, and so belong in the served log
        border: what callers' user ids pass; None where they are given as they are known inside
        clock: UTC ms now

    Raises:
        BundleRefused: there is no champion, or it does not fit the store.
        StoreError: the online store cannot be opened.
    """
    lake = Lake(settings.home)
    with ExitStack() as opened:
        store = open_store(settings)
        opened.callback(store.close)
        registry = Registry(lake.registry)
        milvus = _milvus(settings)
        if milvus is not None:
            opened.callback(milvus.close)

        def loading(registered: Bundle) -> bundle.ServingBundle:
            return bundle.load(registered, milvus, store.fingerprint, registry, settings.mirror_rows, people_of(lake))

        share = milvus.add_late if milvus is not None else None
        bundles = BundleWatch(registry, loading, store.late_items, share, clock)
        if logged:
            bundles.look()  # the first answers, too, are those of the arms of experiments
        if follow:
            bundles.start()
            retention = Retention(lake.served_log, settings.served_log_days, settings.served_log_gb)
            opened.callback(retention.close)
            opened.callback(Checkpoints(store, settings).close)
        owned = opened.pop_all()
    served_log = ServedLog(lake.served_log) if logged else None
    explorer = Explorer(registry.secret())
    recommender = Recommender(
        store,
        bundles,
        served_log,
        border=border,
        explorer=explorer if settings.explore and logged else None,  # what is drawn is logged, or not drawn
        sandbox=settings.sandbox,
        owned=owned,
        clock=clock,
    )
    inspector = Inspector(
        store,
        bundles,
        recommender.pools,
        served_log=lake.served_log,
        loading=lambda bundle_id: loading(registry.get(bundle_id)),
        border=border,
        explorer=explorer,
        clock=clock,
    )
    recommender.warm()
    return recommender, inspector


def _milvus(settings: Settings) -> MilvusIndex | None:
    """The item index, None while Milvus does not answer: a bundle carries its embeddings, so serving begins without."""
    try:
        return MilvusIndex(ensure_milvus(settings).uri, timeout=MILVUS_SECONDS)
    except (ItemIndexUnavailable, MilvusServerError) as error:
        log.warning("%s; the bundle's own embeddings serve", error)
        return None
