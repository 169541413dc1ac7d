"""Where everything lies on disk: one folder holds all that an installation knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths below one folder. It opens nothing and creates nothing by itself."""

    root: Path
    configs: Path | None = None
    """Where the people's YAML lies, if not in `configs/` below the root."""

    @property
    def config_folder(self) -> Path:
        """The folder of the YAML files of marketers, operators and data scientists."""
        return self.configs or self.root / "configs"

    @property
    def tables(self) -> Path:
        """Typed tables, one Parquet file each: `tables/<name>.parquet`."""
        return self.root / "tables"

    @property
    def received(self) -> Path:
        """The same as they came, where some rows belong to another id than they came with (`features.identity`)."""
        return self.root / "received"

    @property
    def quarantine(self) -> Path:
        """Rejected rows, one Parquet file for each load."""
        return self.root / "quarantine"

    @property
    def catalog(self) -> Path:
        """The marketer's YAML: tiers, offers, actions, benefits."""
        return self.config_folder / "catalog"

    @property
    def experiments(self) -> Path:
        """The marketer's experiments, one YAML file each."""
        return self.config_folder / "experiments"

    @property
    def policy(self) -> Path:
        """The operator's policy."""
        return self.config_folder / "policy.yaml"

    @property
    def training(self) -> Path:
        """The data scientist's configuration."""
        return self.config_folder / "training.yaml"

    @property
    def features(self) -> Path:
        """Offline feature files, one folder for each Feast view."""
        return self.root / "features"

    @property
    def online(self) -> Path:
        """The online store: one SQLite file."""
        return self.root / "online.db"

    @property
    def registry(self) -> Path:
        """Feast's registry file."""
        return self.root / "feast" / "registry.db"

    @property
    def mlflow(self) -> Path:
        """The folder of MLflow's SQLite file and artefacts."""
        return self.root / "mlflow"

    @property
    def bundles(self) -> Path:
        """Promoted models: `bundles/<model>/<version>/bundle.json` and arrays."""
        return self.root / "bundles"

    @property
    def champions(self) -> Path:
        """Which bundle serves: `{"taste": "3", "churn": "7"}`; replaced atomically."""
        return self.root / "champions.json"

    @property
    def versions(self) -> Path:
        """Every catalogue and policy that ever decided, by content hash, so that a decision can be run again."""
        return self.root / "versions"

    @property
    def journal(self) -> Path:
        """Decisions and events: one SQLite file."""
        return self.root / "journal.db"

    @property
    def controls(self) -> Path:
        """What an operator switches at run time: paused offers, the incident switch."""
        return self.root / "controls.json"

    @property
    def prices(self) -> Path:
        """Shadow prices of the budgets as they were solved last: `{"prices": {"b": 0.4}}`, money per unit."""
        return self.root / "prices.json"

    @property
    def assortment(self) -> Path:
        """What the shop's stock system says of products right now: which can be had, until when, and tags."""
        return self.root / "assortment.csv"

    @property
    def keys(self) -> Path:
        """API keys, hashed."""
        return self.root / "keys.json"

    @property
    def clock(self) -> Path:
        """The programme clock's offset, so that a history that ended can be served as of its end."""
        return self.root / "clock.json"

    @property
    def liability(self) -> Path:
        """How likely points are redeemed, by age of lot and balance: what `tessera points` learned."""
        return self.root / "liability.json"

    @property
    def tier_outcome(self) -> Path:
        """How many baskets come and what they are worth, for forecasts of tiers: what `tessera tiers` fitted."""
        return self.root / "tiers.json"

    @property
    def reports(self) -> Path:
        """Pictures and tables for people."""
        return self.root / "reports"
