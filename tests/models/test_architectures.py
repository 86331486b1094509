from fnmatch import fnmatchcase

from hf_newsmatch.models.architectures import CLIP


def test_every_weight_of_clip_has_its_tower_layer_and_place(model):
    """Against the modules that own the weights."""
    owners = {
        "vision": (model.vision_model, model.visual_projection),
        "text": (model.text_model, model.text_projection),
    }
    tower_of = {id(p): tower for tower, modules in owners.items() for m in modules for p in m.parameters()}
    layer_of = {
        id(p): number
        for towers in (model.vision_model, model.text_model)
        for number, layer in enumerate(towers.encoder.layers)
        for p in layer.parameters()
    }
    inputs = (model.vision_model.embeddings, model.vision_model.pre_layrnorm, model.text_model.embeddings)
    below = {id(p) for module in inputs for p in module.parameters()}
    assert len(tower_of) > 50
    for name, parameter in model.named_parameters():
        tower = tower_of.get(id(parameter))
        assert CLIP.tower(name) == tower, name
        matching = {key for key in owners if any(fnmatchcase(name, pattern) for pattern in CLIP.patterns(key))}
        assert matching == ({tower} if tower else set()), name
        layer = CLIP.layer.search(name)
        assert (int(layer[1]) if layer else None) == layer_of.get(id(parameter)), name
        assert bool(CLIP.input.search(name)) == (id(parameter) in below), name


def test_a_weight_of_neither_tower():
    assert CLIP.tower("logit_scale") is None
