"""The ML platform: data, training, artifacts, scoring configurations, and which version is live."""

from activities.effect import Body, effect


class Version(Body):
    """One version of a model."""

    model: str
    version: str


class Dataset(Version):
    """A version and the data that it is made from."""

    dataset: str


class Undo(Body):
    """Takes back whatever was done under the key that it names."""


generate_data = effect("ml.generate_data", Dataset)
train = effect("ml.train", Dataset)
push_artifact = effect("ml.push_artifact", Version)
delete_artifact = effect("ml.delete_artifact", Undo)
create_config = effect("ml.create_config", Version)
delete_config = effect("ml.delete_config", Undo)
authorize = effect("ml.authorize", Version)
restore_version = effect("ml.restore_version", Undo)
check_canary = effect("ml.check_canary", Version)
