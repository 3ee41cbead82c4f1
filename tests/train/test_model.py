from __future__ import annotations

import pickle

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from drr.train.model import (  # noqa: E402
    Model,
    ModelError,
    densenet121,
    initialise,
    load_model,
    save_model,
)
from drr.train.recipe import Recipe  # noqa: E402
from drr.train.vision import import_vision  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return densenet121(2)


@pytest.fixture(scope="module")
def model(network):
    return Model(
        network=network.eval(),
        labels=("a", "b"),
        recipe=Recipe(image_size=64),
        extra_channels=0,
        about={"epoch": 3},
    )


def test_size_and_names():
    network = densenet121(1000)
    # The figures of torchvision's documentation and of its state dictionary.
    assert sum(p.numel() for p in network.parameters()) == 7_978_856
    names = list(network.state_dict())
    assert len(names) == 727
    assert names[0] == "features.conv0.weight"
    assert "features.denseblock4.denselayer16.norm2.running_var" in names
    assert "features.transition3.conv.weight" in names
    assert names[-2:] == ["classifier.weight", "classifier.bias"]


def test_output(network):
    images = torch.rand(3, 3, 64, 48)
    with torch.inference_mode():
        assert network.eval()(images).shape == (3, 2)
        assert densenet121(5, channels=1).eval()(images[:, :1]).shape == (3, 5)


def test_a_model_comes_back(model, tmp_path):
    save_model(tmp_path / "model.pt", model)
    save_model(tmp_path / "model.pt", model)
    for path in (tmp_path, tmp_path / "model.pt"):
        back = load_model(path, labels=("a", "b"))
        assert (back.labels, back.recipe, back.about) == (model.labels, model.recipe, {"epoch": 3})
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(back.network(images), model.network(images))


def test_models_that_are_none(model, tmp_path):
    save_model(tmp_path / "model.pt", model)
    with pytest.raises(ModelError, match="trained for a, b, not for b, a"):
        load_model(tmp_path, labels=("b", "a"))
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ModelError, match=r"text\.pt"):
        load_model(tmp_path / "text.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"empty\.pt"):
        load_model(tmp_path / "empty.pt")
    torch.save({"a": torch.ones(3)}, tmp_path / "state.pt")
    with pytest.raises(ModelError, match="is no model"):
        load_model(tmp_path / "state.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    torch.save(content | {"version": 9}, tmp_path / "new.pt")
    with pytest.raises(ModelError, match="version 9"):
        load_model(tmp_path / "new.pt")
    torch.save(content | {"labels": ["a", "b", "c"]}, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match="do not fit"):
        load_model(tmp_path / "odd.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cut\.pt"):
        load_model(tmp_path / "cut.pt")


def test_nothing_in_a_file_is_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "was run"), "w"))

    (tmp_path / "code.pt").write_bytes(pickle.dumps({"state_dict": Code()}, protocol=2))
    with pytest.raises(ModelError):
        load_model(tmp_path / "code.pt")
    assert not (tmp_path / "was run").exists()


def test_weights_of_others(network, tmp_path):
    """As torchvision's first file has them: old names, ImageNet's classifier."""
    photographs = densenet121(1000)
    old = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2") if "layer" in name else name: v
        for name, v in photographs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(old, tmp_path / "imagenet.pth")
    mine = densenet121(2)
    notes = initialise(mine, tmp_path / "imagenet.pth")
    assert [note.split()[0] for note in notes] == ["classifier.weight", "classifier.bias"]
    name = "features.denseblock2.denselayer3.conv2.weight"
    assert torch.equal(mine.state_dict()[name], photographs.state_dict()[name])

    grey, organs = densenet121(2, channels=1), densenet121(2, channels=5)
    assert "fitted to 1 channels" in initialise(grey, tmp_path / "imagenet.pth")[0]
    initialise(organs, tmp_path / "imagenet.pth")
    first = photographs.features.conv0.weight
    assert torch.equal(grey.features.conv0.weight, first.sum(1, keepdim=True))
    assert torch.equal(organs.features.conv0.weight[:, :3], first)
    assert not organs.features.conv0.weight[:, 3:].any()


def test_networks_of_torchxrayvision(tmp_path):
    """As it publishes them: whole networks, pickled."""
    xrv = import_vision("torchxrayvision")
    theirs = xrv.models.DenseNet(num_classes=18, in_channels=1).eval()
    torch.save(theirs, tmp_path / "xrv.pt")
    mine = densenet121(18, channels=1).eval()
    (note,) = initialise(mine, tmp_path / "xrv.pt")
    assert "normalisation 'torchxrayvision'" in note
    images = torch.rand(2, 1, 224, 224) * 2048 - 1024
    with torch.inference_mode():
        torch.testing.assert_close(mine(images), theirs(images))


def test_networks_of_others_are_not_trusted(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3))
    torch.save({"state_dict": network}, tmp_path / "linear.pt")
    with pytest.raises(ModelError, match="no state dictionary"):
        initialise(densenet121(2), tmp_path / "linear.pt")


def test_weights_that_do_not_fit(model, tmp_path):
    mine = densenet121(2)
    save_model(tmp_path / "model.pt", model)
    assert initialise(mine, tmp_path / "model.pt") == []
    torch.save({"state_dict": torch.nn.Linear(3, 4).state_dict()}, tmp_path / "linear.pt")
    with pytest.raises(ModelError, match=r"lacks features\.conv0\.weight"):
        initialise(mine, tmp_path / "linear.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="no state dictionary"):
        initialise(mine, tmp_path / "list.pt")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", 3),
        ("labels", []),
        ("labels", [1, 2]),
        ("labels", ["a", "a"]),
        ("labels", ["a"] * 10**6),
        ("extra_channels", 10**9),
        ("extra_channels", -1),
        ("extra_channels", "1"),
        ("recipe", []),
        ("recipe", {"channels": 10**9}),
        ("recipe", {"channels": 1}),
        ("about", 7),
        ("state_dict", None),
        ("state_dict", {}),
        ("state_dict", {"classifier.weight": 3}),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_they_take_memory(model, tmp_path, key, value):
    path = tmp_path / "model.pt"
    save_model(path, model)
    content = torch.load(path, weights_only=True)
    for damaged in (content | {key: value}, {k: v for k, v in content.items() if k != key}):
        torch.save(damaged, path)
        with pytest.raises(ModelError, match=r"model\.pt: its parts do not fit"):
            load_model(path)


def test_flipped_bytes_of_a_model_are_read_or_refused(model, tmp_path, recwarn):
    path = tmp_path / "model.pt"
    save_model(path, model)
    sound = path.read_bytes()
    start = sound.find(b"data.pkl")
    for place in [*range(start, start + 400, 9), *range(len(sound) - 500, len(sound), 11)]:
        content = bytearray(sound)
        content[place] ^= 0x55
        path.write_bytes(content)
        try:
            load_model(path)
        except ModelError as error:
            assert "model.pt" in str(error)  # noqa: PT017
    assert not recwarn.list
